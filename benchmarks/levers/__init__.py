"""The parts of ``lever_study.py``: what is compared, how a run is made and judged, what differences are worth."""
