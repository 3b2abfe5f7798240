"""The `lab` fixture where there is no engine, and where a test asks for what there is not."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

TEST = """
    import pytest

    @pytest.mark.topology({marked})
    def test_mail(lab):
        raise AssertionError("there is no lab")
"""


@pytest.fixture
def no_engine(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    return pytester


def test_without_an_engine_a_test_is_skipped_and_says_why(no_engine: pytest.Pytester) -> None:
    no_engine.makepyfile(TEST.format(marked='"textbook"'))
    done = no_engine.runpytest_subprocess("-ra", "--strict-markers")
    done.assert_outcomes(skipped=1)
    done.stdout.fnmatch_lines("SKIPPED*needs a Docker engine: *(lab doctor --fix)")


def test_where_a_lab_is_required_it_fails(no_engine: pytest.Pytester) -> None:
    no_engine.makepyfile(TEST.format(marked='"textbook"'))
    done = no_engine.runpytest_subprocess("--lab-required")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines("needs a Docker engine: *")


def test_the_mark_and_the_option_are_told_of(pytester: pytest.Pytester) -> None:
    told = pytester.runpytest_subprocess("--markers").stdout
    told.fnmatch_lines("@pytest.mark.topology(source, time_scale=None): *")
    pytester.runpytest_subprocess("--help").stdout.fnmatch_lines("*--lab-required*")
