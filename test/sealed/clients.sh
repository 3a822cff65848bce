# Every client of test/interop that this machine has, one after the other, each under its name:
#     sh clients.sh NODE SOURCES HTTP HTTPS HTTP2 PROGRAMS_HTTP PROGRAMS_HTTPS JOB GO
# It says nothing of a proxy, and what it prints is compared with what it prints elsewhere.
node=$1 sources=$2 http=$3 https=$4 http2=$5 programs_http=$6 programs_https=$7 job=$8 go=$9

# What programs write; several of us may run in one folder.
own=$(mktemp -d)
trap 'rm -rf "$own"' EXIT

section() { printf '\n== %s\n' "$1"; }
has() { command -v "$1" >/dev/null; }

for base in "$http" "$https"; do
  if has curl; then
    section "curl $base"
    for path in '/echo?a=1&b=%2F..' /big /chunked /redirect /empty /missing; do
      curl -sS -i -L --http1.1 "$base$path"
    done
    curl -sS -i --http1.1 -d hello "$base/echo"
    curl -sS -I --http1.1 "$base/big"
  fi
  section "python $base"
  /usr/bin/python3 "$sources/http/client.py" "$base"
  section "node $base"
  "$node" "$sources/http/client.mjs" "$base" websocket
  section "ws $base"
  "$node" "$sources/http/client-ws.mjs" "$base"
  if [ -n "$go" ]; then
    section "go $base"
    "$go" "$base" http1
  fi
done
if has java; then
  section "java $http"
  java "$sources/http/Client.java" "$http"
  section "java $https"
  keytool -importcert -noprompt -alias trusted -file "$NODE_EXTRA_CA_CERTS" -keystore "$own/trust.p12" \
    -storepass changeit -storetype PKCS12 2>/dev/null
  java -Djavax.net.ssl.trustStore="$own/trust.p12" -Djavax.net.ssl.trustStorePassword=changeit \
    "$sources/http/Client.java" "$https"
fi
if has curl; then
  section "curl $http2"
  for path in '/echo?a=1&b=%2F..' /big /chunked; do curl -sS -i --http2 "$http2$path"; done
fi
section "node:http2 $http2"
"$node" "$sources/http/client-http2.mjs" "$http2"
if [ -n "$go" ]; then
  section "go $http2"
  "$go" "$http2" http2
fi
section grpc-js
"$node" "$sources/client.ts" <"$job"
if /usr/bin/python3 -c 'import grpc' 2>/dev/null; then
  section grpcio
  /usr/bin/python3 "$sources/client.py" <"$job"
fi

if has git; then
  for base in "$programs_http" "$programs_https"; do
    section "git clone $base"
    git clone -q "$base/served.git" "$own/work"
    (cd "$own/work" && git rev-parse HEAD && git ls-tree -r HEAD && git fsck --strict && sha256sum ./*)
    rm -rf "$own/work"
  done
fi
if has npm; then
  section "npm install $programs_https"
  mkdir "$own/npm" && echo '{"name":"project","version":"1.0.0"}' >"$own/npm/package.json"
  (cd "$own/npm" && npm install plain --registry "$programs_https/npm/" --cache "$PWD/cache" \
    --no-audit --no-fund --ignore-scripts --no-update-notifier --silent &&
    cat package-lock.json && find node_modules -type f ! -name .package-lock.json -exec sha256sum {} + | sort)
fi
if /usr/bin/python3 -m pip --version >/dev/null 2>&1; then
  section "pip download $programs_https"
  /usr/bin/python3 -m pip download plain --quiet --no-cache-dir --disable-pip-version-check \
    --index-url "$programs_https/pip/simple/" --dest "$own/pip"
  (cd "$own/pip" && sha256sum ./*)
fi
