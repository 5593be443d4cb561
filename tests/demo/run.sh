#!/bin/sh
# The three pipelines of the README, as typed, against our own registry on loopback.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
server=
cleanup() {
    [ -z "$server" ] || kill "$server" 2> /dev/null || true
    [ -z "$server" ] || wait "$server" 2> /dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# Stand-ins for what a fresh machine may lack; the pipelines stay as they are typed.
mkdir "$work/bin"
for tool in jq shasum; do
    command -v "$tool" > /dev/null || {
        echo "($tool is not installed: a stand-in of the demo takes its place)"
        printf '#!/bin/sh\nexec python3 "%s/%s.py" "$@"\n' "$here" "$tool" > "$work/bin/$tool"
        chmod +x "$work/bin/$tool"
    }
done
PATH="$work/bin:$PATH"

python3 "$here/sample.py" "$work/image"
mkfifo "$work/ready"
dist serve "$work/image" --listen 127.0.0.1:0 --token-auth > "$work/ready" &
server=$!
read -r address < "$work/ready"

# A name is served from anywhere: here docker.io/library comes from the registry just started.
XDG_CONFIG_HOME=$work/config XDG_CACHE_HOME=$work/cache
export XDG_CONFIG_HOME XDG_CACHE_HOME
unset DIST_CONFIG DIST_TIMEOUT CONTAINERD_FETCH_TIMEOUT || true
mkdir -p "$XDG_CONFIG_HOME/dist"
cat > "$XDG_CONFIG_HOME/dist/config.toml" << TOML
[[remote]]
prefix = "docker.io/library"
location = "$address/library"
plain_http = true
TOML

show() { printf '\n$ %s\n' "$1"; }

show 'dist fetch docker.io/library/redis latest mediatype:application/vnd.docker.distribution.manifest.v2+json | jq -r .mediaType'
dist fetch docker.io/library/redis latest mediatype:application/vnd.docker.distribution.manifest.v2+json 2> "$work/warning" | jq -r .mediaType
cat "$work/warning"

show 'dist fetch docker.io/library/redis sha256:$(dist fetch docker.io/library/redis latest | shasum -a256) | shasum -a256'
first=$(dist fetch docker.io/library/redis sha256:$(dist fetch docker.io/library/redis latest | shasum -a256) | shasum -a256)
echo "$first"
digest=sha256:${first%% *}

show "dist fetch docker.io/library/redis $digest | jq -r '.layers[].digest' | xargs -n1 -P10 dist fetch docker.io/library/redis > /dev/null"
dist fetch docker.io/library/redis "$digest" | jq -r '.layers[].digest' | xargs -n1 -P10 dist fetch docker.io/library/redis > /dev/null
echo "(exit code $?: every layer arrived and is what its digest says)"

show 'each layer again, its digest computed by shasum'
dist fetch docker.io/library/redis "$digest" | jq -r '.layers[].digest' > "$work/layers"
while read -r layer; do
    got=sha256:$(dist fetch docker.io/library/redis "$layer" | shasum -a256 | cut -d' ' -f1)
    [ "$got" = "$layer" ] || { echo "MISMATCH: $layer came as $got" >&2; exit 1; }
    echo "$layer ok"
done < "$work/layers"
[ "$(wc -l < "$work/layers")" -ge 10 ]
resolved=$(dist resolve docker.io/library/redis:latest)
[ "$resolved" = "$digest" ] || { echo "MISMATCH: latest is $resolved, the pipeline said $digest" >&2; exit 1; }
printf '\ndigests agree: latest is %s, %s layers verified\n' "$resolved" "$(wc -l < "$work/layers" | tr -d ' ')"
