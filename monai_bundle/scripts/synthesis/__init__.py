"""Haemorrhages, and what resembles them, set into real head CT: research use only."""
