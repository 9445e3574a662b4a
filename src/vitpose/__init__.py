"""ViTPose and ViTPose+: keypoints of people and animals, from photos and videos to trained models and back."""
