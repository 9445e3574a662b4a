"""Pictures to poses: the estimator, and the only place that turns names into objects."""
