"""From scored units to comparison tables: which rows may stand together, and what must be said of them."""
