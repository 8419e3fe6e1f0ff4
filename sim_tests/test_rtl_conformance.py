"""Every op, and every kind of fault, as hardware in Amaranth's simulator, cycles included."""

from __future__ import annotations

from hwsim.rtl.testing import AmaranthConformance, AmaranthFaultConformance


class TestAmaranth(AmaranthConformance):
    pass


class TestAmaranthWithFaults(AmaranthFaultConformance):
    pass
