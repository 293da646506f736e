"""Bugs of the console: whose session it is, which page sent a form, and what becomes markup."""

from __future__ import annotations

from tests.reliability.controls.copy import Bug, Edit

GUARD, SESSIONS, LOGIN = (f"gateway/console/{name}.py" for name in ("guard", "sessions", "login"))
AT_THE_DOOR, AT_LOGIN, SHOWN = (f"tests/console/test_{name}.py" for name in ("guard", "login", "pages"))

EVENTS, POLICIES = (f"gateway/edge/pages/overview/{name}.py" for name in ("events", "policies"))

IN_CONSOLE = (
    Bug(
        "a form of any origin is taken",
        (Edit(GUARD, 'if request.headers.getlist("origin") not in', "if [None] in"),),
        (AT_THE_DOOR,),
    ),
    Bug(
        "a form without the token of its session is taken",
        (Edit(GUARD, "if not hmac.compare_digest(", 'if "csrf" in fields and not hmac.compare_digest('),),
        (AT_THE_DOOR,),
    ),
    Bug(
        "a request for any host is answered",
        (Edit(GUARD, "if len(hosts) != 1 or", "if len(hosts) != 1 and"),),
        (AT_THE_DOOR,),
    ),
    Bug(
        "a session outlives its key",
        (Edit(SESSIONS, "            self._current.live.authenticator.still(session.standing,", "            int("),),
        (AT_LOGIN,),
    ),
    Bug(
        "a session lasts as long as it is used",
        (Edit(SESSIONS, "        if self._clock.monotonic_s() - session.began_s >= LASTS_S:", "        if False:"),),
        (AT_LOGIN,),
    ),
    Bug(
        "a login leaves the earlier session of the browser open",
        (Edit(LOGIN, "        self._end(request)\n", ""),),
        (AT_LOGIN,),
    ),
    Bug(
        "a cookie that anybody may have set opens a session of TLS",
        (Edit(SESSIONS, "session.secure is not secure or", "session.secure < secure or"),),
        (AT_LOGIN,),
    ),
    Bug(
        "what is shown is not escaped",
        (Edit("gateway/console/shown.py", "autoescape=True", "autoescape=False"),),
        (SHOWN,),
    ),
    Bug(
        "every team sees every policy file",
        (Edit(POLICIES, "        if team is None or any(", "        if True or any("),),
        (SHOWN,),
    ),
    Bug(
        "events of all teams are sent to each",
        (
            Edit(
                EVENTS,
                "if stream.team in (None, one.team):",
                "if stream.team or one.team:",
            ),
        ),
        ("tests/console/test_streams.py",),
    ),
    Bug(
        "an event stream outlives its credential",
        (
            Edit(
                EVENTS,
                "return same and not self._ending()",
                "return not self._ending()",
            ),
            Edit(
                EVENTS,
                "        except Refusal:\n            return False\n",
                "        except Refusal:\n            return not self._ending()\n",
            ),
        ),
        ("tests/console/test_streams.py",),
    ),
    Bug(
        "a token of an issuer that was taken out stays in force",
        (
            Edit(
                "gateway/callers/tokens.py",
                '        if pinned is None:\n            raise Unauthenticated("unknown_issuer")\n',
                "        if pinned is None:\n            return accepted.principal\n",
            ),
        ),
        ("tests/callers/test_standing.py",),
    ),
)
