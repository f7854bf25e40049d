"""The result folder: result.json, maps, report (docs/result.schema.json)."""
