#!/bin/sh
# Installs what the tests need and this machine lacks: wscat into a folder of the checkout, and httpie and chromium through
# apt. Without the right to use apt the tests that need those are skipped, and say so; on CI that is a failure.
set -eu
folder=$1
wscat=$2

if [ ! -x "$folder/node_modules/.bin/wscat" ]; then
  if command -v npm >/dev/null; then
    mkdir -p "$folder"
    npm install --prefix "$folder" --no-audit --no-fund --loglevel=error "wscat@$wscat"
  else
    echo "tools: npm is missing, so the tests that use wscat are skipped" >&2
  fi
fi

missing=
command -v http >/dev/null || missing="$missing httpie"
command -v curl >/dev/null || missing="$missing curl"
command -v chromium >/dev/null || missing="$missing chromium"
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
