#!/usr/bin/env bash
# Streams real data into an S3 server on this machine, and compares what is stored with what was
# sent, by way of another program. Run it with `make demo`; the argument is the directory with the
# virtual environment's programs. Leaves nothing behind.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

bin=$(cd -- "${1:-.venv/bin}" 2>/dev/null && pwd) && [[ -x $bin/streamtos3 ]] || {
    echo "demo: streamtos3 is not installed in ${1:-.venv/bin}: run 'make demo'" >&2
    exit 1
}
PATH=$bin:$PATH

say() { printf '\n# %s\n' "$*"; }
run() { # shows a command like a transcript, then runs it
    printf '$ %s\n' "$1"
    eval "$1"
}

work=$(mktemp -d "${TMPDIR:-/tmp}/streamtos3-demo.XXXXXX")
server=
clean_up() {
    if [[ $server ]]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf -- "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The demo is about this server, not about what the user has configured for others.
for name in "${!AWS_@}" "${!STREAMTOS3_@}"; do unset "$name"; done
export AWS_CONFIG_FILE=$work/none AWS_SHARED_CREDENTIALS_FILE=$work/none
export AWS_EC2_METADATA_DISABLED=true NO_PROXY=127.0.0.1 no_proxy=127.0.0.1

say "A real S3 server, SeaweedFS, on 127.0.0.1, with one bucket:"
echo "\$ python -m tests.rig.seaweed --bucket demo &"
python -m tests.rig.seaweed --bucket demo >"$work/environment" 2>"$work/server.log" &
server=$!
until grep -q AWS_DEFAULT_REGION "$work/environment"; do
    kill -0 "$server" 2>/dev/null || {
        cat "$work/server.log" >&2
        echo "demo: the server did not start" >&2
        exit 1
    }
    sleep 0.2
done
cat "$work/environment"
# shellcheck source=/dev/null
source "$work/environment"

say "Real data in place of a disk: the Python packages that this project is tested with."
packages=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
cd -- "$work"
tar -cf disk.img --exclude=__pycache__ -C "$packages" .
run "ls -lh disk.img | awk '{print \$5, \$9}'"

say "Stream it into the bucket:"
run 'dd if=disk.img bs=1M status=none | streamtos3 --json -c 64MiB s3://demo/disk.img > receipt.json; echo "exit status $?"'

say "The receipt: what was read, where it is, and what proved each part and the object:"
run "python -m json.tool receipt.json"

say "What is there is not replaced unasked:"
run 'echo something else | streamtos3 s3://demo/disk.img || echo "exit status $?"'

say "Fetch it with another program, boto3, and compare:"
cat >fetch.py <<'PYTHON'
import boto3
boto3.client("s3").download_file("demo", "disk.img", "fetched.img")
PYTHON
run "cat fetch.py"
run "python fetch.py"
run "sha256sum disk.img fetched.img"
run 'cmp disk.img fetched.img && echo "no difference"'
say "What is stored is what was sent. The server and all files of this demo are removed now."
