"""Header, empty line, body; what if a part is missing; and the envelope is not the header (N15)."""

from lab.scenarios import form, linefeeds, scenario
from lab.scenarios.stage import Stage


@scenario(rows=("N15",), lasts="10m", time_scale=60)
def message_format(stage: Stage) -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    carol, dave = stage.person("carol"), stage.person("dave")
    header = {"From": f"Alice <{alice}>", "To": f"Bob <{bob}>", "Subject": "Lunch?"}
    stage.tell("before", server=bob.server)

    stage.predict("question")
    text = form.written(header, "At noon?")
    whole = form.offered(stage, alice, bob, text, "a message as it should be")
    form.three_parts(stage, whole)
    form.kept(stage, whole)
    stage.explain("parts")

    stage.predict("missing", server=bob.server)
    for name in ("Subject", "From", "To"):
        rest = {one: value for one, value in header.items() if one != name}
        text = form.written(rest, f"No {name}.")
        form.taken_without(stage, form.offered(stage, alice, bob, text, f"no {name}"), name)
    with stage.operator(bob.server, always_add_missing_headers="yes"):
        text = form.written({"Subject": "Nothing else"}, "No From, no To.")
        bare = form.offered(stage, alice, bob, text, "no From and no To")
        form.completed(stage, bare, "Message-Id", "Date", "From")
        form.taken_without(stage, bare, "To")
    stage.explain("required", server=bob.server)

    stage.predict("envelope", alice=alice, bob=bob, carol=carol, dave=dave)
    text = form.written({"From": f"Carol <{carol}>", "To": f"Dave <{dave}>"}, "Guess who.")
    forged = form.offered(stage, alice, bob, text, "Carol to Dave, as its header says")
    form.envelope_decides(stage, forged, not_to=dave)
    stage.explain("two", carol=carol)

    trap = f"MAIL FROM:<{carol}>"
    text = form.written(header, f"At noon?\n.\n{trap}\nAt one?", line_end="\n")
    stage.predict("line_feeds", server=bob.server)
    mended = form.offered(stage, alice, bob, text, "lines that end with LF alone")
    linefeeds.mended(stage, mended, trap)
    stage.explain("mended", setting=linefeeds.setting(stage, bob.server))
    with stage.operator(bob.server, **{linefeeds.PARAMETER: "reject"}):
        strict = form.offered(stage, alice, bob, text, "the same once more")
        linefeeds.refused(stage, strict)
    stage.explain("after")
