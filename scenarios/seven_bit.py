"""Korean text and a picture in a system for 7-bit ASCII; and what HTTP does with the same (N8)."""

from lab.scenarios import encodings, pages, scenario
from lab.scenarios.legs import high
from lab.scenarios.stage import Stage

SUBJECT = "내일 점심 같이 먹을까요?"
TEXT = """안녕하세요, 앨리스입니다.

내일 점심을 같이 먹을까요? 열두 시에 도서관 앞에서 만나면 좋겠습니다.
비가 오면 식당으로 바로 오세요. 자리는 제가 맡아 두겠습니다.
"""
PICTURE = "sunset.png"


@scenario(rows=("N8",), topology="web", lasts="10m", time_scale=60)
def seven_bit(stage: Stage) -> None:
    alice, bob = stage.person("alice"), stage.person("bob")
    as_sent = TEXT.replace("\n", "\r\n").encode()
    stage.tell("before", subject=SUBJECT, octets=len(as_sent), high=high(as_sent))

    stage.predict("text")
    quoted = alice.submit(encodings.letter(alice, bob, SUBJECT, TEXT, "quoted-printable"))
    based = alice.submit(encodings.letter(alice, bob, SUBJECT, TEXT, "base64"))
    encodings.subject_encoded(stage, quoted)
    grown = []
    for letter in (quoted, based):
        encodings.seven_bit(stage, letter)
        grown.append(encodings.grown(stage, letter, "text/plain", as_sent))
        stage.expect(letter).delivered(to=bob)
        encodings.comes_out(stage, letter, bob, TEXT)
    stage.explain("encoded", quoted=grown[0].factor, based=grown[1].factor)

    page = pages.stored(stage)
    stage.predict("picture", name=PICTURE, octets=f"{page.size_of(PICTURE):,}")
    pages.visit(stage, alice, page, only=PICTURE).unencoded()
    written = alice.compose(bob, "The picture")
    written.add_attachment(page.files[PICTURE], "image", "png", filename=PICTURE)
    mailed = alice.submit(written)
    encodings.seven_bit(stage, mailed)
    growth = encodings.grown(stage, mailed, "image/png", page.files[PICTURE])
    stage.explain("carried", factor=growth.factor, octets=f"{growth.after:,}")

    encodings.offered(stage, mailed)
    stage.predict("eight", sender=alice.server, receiver=bob.server)
    as_it_is = encodings.letter(alice, bob, SUBJECT, TEXT, "8bit")
    raw = alice.submit(as_it_is, eight_bit=True)
    encodings.eight_bit(stage, raw, rewritten=False)
    with stage.operator(bob.server, smtpd_discard_ehlo_keywords="8bitmime, smtputf8"):
        again = encodings.letter(alice, bob, SUBJECT, TEXT, "8bit")
        rewritten = alice.submit(again, eight_bit=True)
        encodings.eight_bit(stage, rewritten, rewritten=True)
    for letter in (mailed, raw, rewritten):
        stage.expect(letter).delivered(to=bob)
    stage.explain("after", sender=alice.server, receiver=bob.server)
