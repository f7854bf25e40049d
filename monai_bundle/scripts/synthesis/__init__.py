"""Haemorrhages, and what looks like them, set into real head CT: research use only."""
