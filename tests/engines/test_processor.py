import pytest

from vitpose.engines import processor

INTEL = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 avx512f avx512_vnni amx_bf16\n\nprocessor\t: 1\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n"


@pytest.fixture
def info(tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(processor, "_INFO", path)
    return path


def test_instructions_are_read_from_the_first_core(info):
    info.write_text(INTEL)
    assert processor.processor_name() == "Some CPU"
    assert processor.instructions() == ("avx2", "avx512f", "avx512_vnni", "amx_bf16")
    assert processor.has_bf16()
    assert processor.has_int8()


def test_arm_calls_them_features(info):
    info.write_text(ARM)
    assert processor.instructions() == ("asimddp", "i8mm")
    assert not processor.has_bf16()
    assert processor.has_int8()


def test_where_the_system_says_nothing_nothing_is_claimed(info):
    assert processor.instructions() == ()
    assert not processor.has_bf16()
    assert not processor.has_int8()
    assert isinstance(processor.processor_name(), str)
