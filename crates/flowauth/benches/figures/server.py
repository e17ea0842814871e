# FlowAuth in small on Flask: a form, Argon2id as ours has it, sessions and a log in SQLite, and the page of somebody who has come in.
# `python server.py PASSWORD` makes the database; gunicorn serves `app`.
import hashlib, os, secrets, sqlite3, sys, time

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from flask import Flask, g, redirect, render_template_string, request

HASHER = PasswordHasher(time_cost=2, memory_cost=19 << 10, parallelism=1)
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>FlowAuth</title></head><body>
<header><nav><a href="/">Start</a> <a href="/account">Account</a></nav></header><main><h1>{{ user }}</h1>
<p>{{ sessions | length }} sessions</p><ul>{% for since in sessions %}<li>{{ since }}</li>{% endfor %}</ul>
<form method="post" action="/sign-out"><input type="hidden" name="csrf" value="{{ csrf }}"><button>Sign out</button></form>
</main></body></html>"""

app = Flask(__name__)


def db():
    if "db" not in g:
        g.db = sqlite3.connect(os.environ["DATABASE"], timeout=30)
    return g.db


@app.teardown_appcontext
def close(_):
    if "db" in g:
        g.db.close()


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


@app.post("/sign-in")
def sign_in():
    name = request.form["username"]
    row = db().execute("SELECT hash FROM users WHERE name = ?", [name]).fetchone()
    try:
        HASHER.verify(row[0], request.form["password"])
    except (VerifyMismatchError, TypeError):
        return "No.", 401
    session = secrets.token_urlsafe(32)
    with db() as change:
        change.execute("INSERT INTO sessions VALUES (?, ?, ?)", [digest(session), name, int(time.time())])
        change.execute("INSERT INTO log VALUES (?, 'sign-in', ?)", [int(time.time()), name])
    answer = redirect("/account", 303)
    answer.set_cookie("session", session, secure=True, httponly=True, samesite="Lax")
    return answer


@app.get("/account")
def account():
    session = digest(request.cookies.get("session", ""))
    row = db().execute("SELECT user FROM sessions WHERE digest = ?", [session]).fetchone()
    if row is None:
        return redirect("/sign-in", 303)
    since = db().execute("SELECT since FROM sessions WHERE digest = ?", [session]).fetchall()
    return render_template_string(PAGE, user=row[0], sessions=[one[0] for one in since], csrf=session)


if __name__ == "__main__":
    made = sqlite3.connect(os.environ["DATABASE"])
    made.executescript("""PRAGMA journal_mode = WAL; CREATE TABLE users (name TEXT PRIMARY KEY, hash TEXT);
        CREATE TABLE sessions (digest TEXT PRIMARY KEY, user TEXT, since INTEGER); CREATE TABLE log (at INTEGER, what TEXT, who TEXT);""")
    with made:
        made.execute("INSERT INTO users VALUES ('admin', ?)", [HASHER.hash(sys.argv[1])])
