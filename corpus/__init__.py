"""The data path: sources, images, duplicates, splits, the store and releases."""
