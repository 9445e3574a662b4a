"""Files to a loaded model and back: catalogue, download, key maps, strict loading."""
