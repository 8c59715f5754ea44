#!/usr/bin/env bash
# Proves `make run`: starts it, sends the requests that it suggests, changes a file, and ends it as Ctrl-C would.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
log=$work/log
fail() { printf 'try-run: %s; the log:\n' "$1" >&2; tail -50 "$log" >&2; exit 1; }

# A pipeline may run this with SIGINT ignored, which children inherit and shells cannot undo; a terminal never does.
listening=(python3 -c 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])')

set -m # a process group of its own, to interrupt it as a terminal does
"${listening[@]}" make run DIRECTORY="$work/standalone" >"$log" 2>&1 & run=$!
set +m
trap 'kill -TERM -- "-$run" 2>/dev/null || true; rm -rf "$work"' EXIT

for _ in {1..9000}; do
  ! grep -q '^run: ready' "$log" || break
  kill -0 "$run" 2>/dev/null || fail "it ended early"
  sleep 0.1
done

python3 - "$work/standalone" <<'PY' || fail "a request was not answered as expected"
import http.client, json, pathlib, socket, ssl, sys, time

directory = pathlib.Path(sys.argv[1])

def ask(host, path):
    connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=5)
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    return answer.status, answer.read()

def eventually(what, condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)

def served_by(host, path, services):
    def condition():
        status, body = ask(host, path)
        return status == 200 and json.loads(body)["service"] in services
    return condition

eventually("www", served_by("www.example.com", "/", {"www"}))
eventually("the included blog", served_by("www.example.com", "/blog", {"blog-v1", "blog-v2"}))
eventually("the Ingress", served_by("shop.example.com", "/", {"shop"}))

context = ssl.create_default_context(cafile=directory / "ca.crt")
with socket.create_connection(("127.0.0.1", 8443), timeout=5) as plain:
    with context.wrap_socket(plain, server_hostname="secure.example.com") as tls:
        tls.sendall(b"GET / HTTP/1.1\r\nHost: secure.example.com\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: tls.recv(65536), b""))
        assert b" 200 " in answer.splitlines()[0] and b'"blog-v2"' in answer, answer

changed = directory / "team-a/www.yaml"
changed.write_text(changed.read_text().replace("www.example.com", "new.example.com"))
eventually("the changed host", served_by("new.example.com", "/", {"www"}))
eventually("the host that is gone", lambda: ask("www.example.com", "/")[0] == 404)
PY

kill -INT -- "-$run"
for _ in {1..600}; do
  kill -0 "$run" 2>/dev/null || break
  sleep 0.1
done
! kill -0 "$run" 2>/dev/null || fail "it does not end when interrupted"
for port in 8080 8443 9101; do
  ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || fail "something still listens on $port"
done
echo "try-run: ok"
