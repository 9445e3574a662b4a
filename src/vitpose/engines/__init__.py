"""uint8 crops in, float32 heatmaps out."""
