"""Signed bundles: keys, signatures, and the policy of a machine that opens signed bundles only."""

from edge_vseg.trust.policy import TrustPolicy, machine_policy
from edge_vseg.trust.release import Release
from edge_vseg.trust.verification import VerifiedRelease, require_trust

__all__ = ["Release", "TrustPolicy", "VerifiedRelease", "machine_policy", "require_trust"]
