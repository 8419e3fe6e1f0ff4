"""What tests an addition to hwsim, from inside or from outside: docs/testing.md shows it.

=====================  =========================================================================
who adds               derives from, or draws from
=====================  =========================================================================
an op                  a row in ``ROWS``; every class derived from ``Conformance`` asks for it
a back end             ``Conformance``: a function from network and images to every tensor
a design               ``DesignConformance``
a kind of fault        a row in ``KINDS`` of ``hwsim.testing.faulty``; ``FaultConformance`` asks
a protection           ``ProtectionConformance``, and a row in ``PROTECTIONS`` beside ``KINDS``
a stage, a mapping     ``random_network``, ``random_folding``, ``random_depths``, and
                       ``hwsim.rtl.testing`` to run the hardware with gaps and stalls
=====================  =========================================================================

A test is a method that raises AssertionError. pytest collects the classes; it is not imported and
does not come with hwsim: ``pip install pytest``.
"""

from hwsim.testing.cases import Cases, assert_same
from hwsim.testing.conformance import ROWS, Conformance, Row, by_the_rules
from hwsim.testing.designs import DesignConformance
from hwsim.testing.extreme_networks import extreme_network
from hwsim.testing.faulty_chips import Answers, FaultConformance
from hwsim.testing.pipelines import random_depths, random_folding, random_pipeline
from hwsim.testing.protections import ProtectionConformance
from hwsim.testing.random_networks import ALPHABETS, Limits, random_input, random_network
from hwsim.testing.worlds import (
    ExecutorConformance,
    FusedExecutorConformance,
    ReferenceConformance,
)

__all__ = [
    "ALPHABETS",
    "ROWS",
    "Answers",
    "Cases",
    "Conformance",
    "DesignConformance",
    "ExecutorConformance",
    "FaultConformance",
    "FusedExecutorConformance",
    "Limits",
    "ProtectionConformance",
    "ReferenceConformance",
    "Row",
    "assert_same",
    "by_the_rules",
    "extreme_network",
    "random_depths",
    "random_folding",
    "random_input",
    "random_network",
    "random_pipeline",
]
