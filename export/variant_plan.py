"""Which variants an export builds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_vseg.bundle.manifest import FailedVariant, Precision
from edge_vseg.export.export_options import ExportOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantPlan:
    """A variant to build."""

    runtime: str
    precision: Precision
    target: str

    @property
    def id(self) -> str:
        """Its id, which is also its folder in the bundle."""
        per_target = self.runtime == "onnxruntime" and self.precision == "int8"
        return f"{self.runtime}/{self.precision}-{self.target}" if per_target else f"{self.runtime}/{self.precision}"

    def failed(self, reason: str) -> FailedVariant:
        """The entry in the manifest if it cannot be built."""
        return FailedVariant(
            id=self.id, runtime=self.runtime, precision=self.precision, target=self.target, reason=reason
        )


def plan_variants(options: ExportOptions, targets: Sequence[str]) -> list[VariantPlan]:
    """A float graph for every runtime, whose time the others are compared with, and the graphs asked for."""
    plans: list[VariantPlan] = []
    for runtime in options.runtimes:
        plans.append(VariantPlan(runtime=runtime, precision="float", target="any"))
        if "int8" in options.precisions:
            per_target = targets if runtime == "onnxruntime" else ("any",)
            plans.extend(VariantPlan(runtime=runtime, precision="int8", target=t) for t in per_target)
        if "float16" in options.precisions:
            plans.append(VariantPlan(runtime=runtime, precision="float16", target="any"))
    return plans
