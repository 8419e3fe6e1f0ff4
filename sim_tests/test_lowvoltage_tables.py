"""Tables of measurements: one content, however a laboratory writes it, or one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwsim.lowvoltage.fit import read_points
from hwsim.lowvoltage.tables import TableError, parse_voltage, read_table

ROWS = [(0.54, 23706, 33751040), (0.55, 7520, 33751040)]


@pytest.mark.parametrize(
    "text",
    [
        "voltage,failed,cells\n0.54,23706,33751040\n0.55,7520,33751040\n",
        "\ufeffvoltage,failed,cells\r\n0.54,23706,33751040\r\n0.55,7520,33751040",
        "voltage, failed, cells\n0.54, 23706, 33751040\n0.55, 7520, 33751040\n",
        "voltage;failed;cells\n0.54;23706;33751040\n0.55;7520;33751040\n",
        "voltage;failed;cells\n0,54;23706;33751040\n0,55;7520;33751040\n",
        "voltage\tfailed\tcells\n0.54\t23706\t33751040\n0.55\t7520\t33751040\n",
        "0.54 23706 33751040\n0.55   7520 33751040\n",
        "0.54,23706,33751040\n0.55,7520,33751040\n",
        "# VC707\n\nvoltage,failed,cells\n0.54,23706,33751040\n# again\n0.55,7520,33751040\n",
        "voltage_mv,failed,cells\n540,23706,33751040\n550,7520,33751040\n",
        "Voltage [mV],failed,cells\n540,23706,33751040\n550,7520,33751040\n",
        "voltage (V),failed,cells\n.54,23706.0,33751040\n5.5e-1,7.52e3,33751040\n",
        "voltage,failed,cells\n540 mV,23706,33751040\n550mV,7520,33751040\n",
        "voltage_percent,failed,cells\n54,23706,33751040\n55,7520,33751040\n",
        "voltage,failed,cells\n54 %,23706,33751040\n55%,7520,33751040\n",
        'cells,operator,"failed",vdd\n33751040,"a, b",23706,0.54\n33751040,c,7520,0.55\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_one_content_in_many_forms(tmp_path: Path, text: str, encoding: str) -> None:
    if encoding == "utf-16":
        text = text.removeprefix("\ufeff")
    (tmp_path / "m.csv").write_bytes(text.encode(encoding))
    found = read_points(tmp_path / "m.csv")
    assert [(p.voltage, p.failed, p.cells) for p in found] == ROWS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "540,1,20\n550,1,20\n",
            "m.csv:1: voltage must be at most 10 volts, or a share of Vmin, not '540'; call the "
            "column voltage_mv if it holds millivolts, voltage_percent if percent",
        ),
        (
            "voltage,a\n0.54 V,1\n550 mV,1\n",
            "m.csv:3: the column of voltages mixes millivolts and volts",
        ),
        (
            "voltage,a\n0.54 V,1\n0.55,1\n",
            "m.csv:3: the column of voltages mixes numbers without a unit and volts",
        ),
        ("voltage\n-1\n", "m.csv:2: voltage must be a number > 0, not '-1'"),
        ("voltage\nnan\n", "m.csv:2: voltage must be a number > 0, not 'nan'"),
        ("voltage,a\n0.54 A,1\n", "m.csv:2: voltage must be a number, not '0.54 A'"),
        (
            "0.5;1,234;2\n",
            "m.csv:1: '1,234' may have a decimal comma or one of thousands; write neither",
        ),
        (
            "voltage,failed\n0.5;1\n",
            "m.csv:2: has 1 fields, the first line has 2 (separated by commas)",
        ),
        ('voltage,a\n0.5,"1\n', "m.csv:2: has quotes that do not close"),
        (
            "voltage_v,voltage_mv\n0.5,500\n",
            "m.csv: columns 'voltage_v' and 'voltage_mv' both say voltage; leave one",
        ),
        ("# nothing\n\n", "m.csv: holds no numbers"),
    ],
)
def test_what_no_rule_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.csv").write_text(text)

    def read() -> None:
        table = read_table("m.csv")
        table.voltages(table.find({"voltage": ("voltage",)}).get("voltage", 0))

    with pytest.raises(TableError) as caught:
        read()
    assert str(caught.value) == message


def test_voltages_of_the_command_line() -> None:
    told = {"0.875": (0.875, None), "540mV": (0.54, "volts"), "0.54 V": (0.54, "volts")}
    told |= {"88 %": (0.88, "percent"), "1e-1": (0.1, None)}
    assert {text: parse_voltage(text) for text in told} == told
    for text in ("", "V", "0.5 A", "nan", "1,2", "0x1"):
        with pytest.raises(TableError, match="must be a number, perhaps with V, mV or %"):
            parse_voltage(text)
