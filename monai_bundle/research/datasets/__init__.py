"""Indexes of RSNA 2019 and CQ500, as large as they are."""
