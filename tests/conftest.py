"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# A busy machine fails nothing.
settings.register_profile("untimed", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
