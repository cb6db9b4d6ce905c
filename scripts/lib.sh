# shellcheck shell=bash
# What the scripts share: messages, packages, Node, ports. Sourced, never run.

set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}

say() { printf '%s\n' "$*"; }
die() { printf '%s\n' "$*" >&2; exit 1; }

# Seconds as people say them: 21 s, 3 min 40 s.
span() {
  if [ "$1" -lt 60 ]; then printf '%s s' "$1"; else printf '%s min %s s' $(($1 / 60)) $(($1 % 60)); fi
}

# Runs a step with its name and its seconds: step "building the agent" cargo build …; the output goes to a log that is
# shown when the step fails.
step_number=0
steps=${steps:-0}
step() {
  local name=$1 log start=$SECONDS
  shift
  step_number=$((step_number + 1))
  log=$(mktemp "${TMPDIR:-/tmp}/lampas-step.XXXXXX")
  printf '  [%s/%s] %s … ' "$step_number" "$steps" "$name"
  # A shell of its own: `die` in a step ends the step, and a command that fails in it is not passed over.
  set +e
  (
    set -e
    "$@"
  ) >"$log" 2>&1 </dev/null
  local result=$?
  set -e
  if [ "$result" = 0 ]; then
    local note
    note=$(sed -n 's/^NOTE: //p' "$log" | tail -n 1)
    printf '%s\n' "${note:-$(span $((SECONDS - start)))}"
    rm -f "$log"
  else
    printf 'failed\n\n'
    tail -n 60 "$log" >&2
    die "$name failed; the whole output is in $log"
  fi
}

# Installs Debian packages that are missing; without root it says what to install and stops.
need_packages() {
  local missing=() package
  for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ]; then
    die "these packages are missing; install them as root and start again:
  apt-get install --no-install-recommends ${missing[*]}"
  fi
  # Services that a package brings must not start: the tests start private ones.
  local policy=/usr/sbin/policy-rc.d made=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && made=1
  fi
  local result=0
  { apt-get -q -o DPkg::Lock::Timeout=600 update &&
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 install --no-install-recommends "${missing[@]}"; } || result=$?
  [ -z "$made" ] || rm -f "$policy"
  return "$result"
}

# Vite 8 needs Node 20.19; Debian 12 has 18. npm's own `node` package serves where Node is older.
need_node() {
  local version
  version=$(node --version 2>/dev/null | sed 's/^v//') || version=
  if [ -z "$version" ]; then
    need_packages nodejs npm
    version=$(node --version | sed 's/^v//')
  fi
  if [ "$(printf '%s\n20.19.0\n' "$version" | sort -V | head -n 1)" != 20.19.0 ]; then
    if [ ! -x "$top/target/node/node_modules/node/bin/node" ]; then
      npm install --silent --no-audit --no-fund --prefix "$top/target/node" node@22
    fi
    PATH="$top/target/node/node_modules/node/bin:$PATH"
    export PATH
    say "NOTE: ok (node 22 taken from npm)"
  fi
}

# Builds the dashboard unless it is newer than its sources.
build_ui() {
  need_node
  cd "$top/controller/ui"
  if [ ! -d node_modules ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    npm ci --no-audit --no-fund
  fi
  if [ ! -f dist/index.html ] || [ -n "$(find src public index.html package.json vite.config.ts -newer dist/index.html -print -quit 2>/dev/null)" ]; then
    npm run build
  else
    say "NOTE: up to date"
  fi
}
