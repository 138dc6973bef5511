#!/bin/sh
# Installs what the tests need and this machine lacks: wscat and the stand-ins of AWS services into a folder of the checkout, and httpie,
# chromium and Java through apt. Without the right to use apt the tests that need those are skipped, and say so; on CI that is a failure.
set -eu
folder=$1
shift # the rest are npm packages with their versions

missing=
for package in "$@"; do
  name=${package%@*}
  version=${package##*@}
  grep -qs "\"version\": \"$version\"" "$folder/node_modules/$name/package.json" || missing=yes
done
if [ -n "$missing" ]; then
  if command -v npm >/dev/null; then
    mkdir -p "$folder"
    # All at once, or npm removes the others. --force: fauxqs needs a newer Node than this machine may have, and gets the one in the list.
    npm install --prefix "$folder" --no-audit --no-fund --loglevel=error --force "$@"
  else
    echo "tools: npm is missing, so the tests that use $* are skipped" >&2
  fi
fi

# DynamoDB Local listens on all interfaces; netbox gives it a network of its own.
go build -o "$folder/bin/netbox" ./tools/netbox

missing=
command -v http >/dev/null || missing="$missing httpie"
command -v curl >/dev/null || missing="$missing curl"
command -v chromium >/dev/null || missing="$missing chromium"
command -v java >/dev/null || missing="$missing default-jre-headless"
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
  echo "tools: missing:$missing; tests that need them are skipped" >&2
elif [ "$(id -u)" = 0 ]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
elif sudo -n true 2>/dev/null; then
  sudo -n apt-get update -qq
  sudo -n env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
else
  echo "tools: missing:$missing; install them, or the tests that need them are skipped" >&2
fi
