# Every client of test/interop that this machine has, one after the other, each under its name:
#     sh clients.sh NODE SOURCES HTTP HTTPS HTTP2 JOB GO
# It says nothing of a proxy, and what it prints is compared with what it prints elsewhere.
node=$1 sources=$2 http=$3 https=$4 http2=$5 job=$6 go=$7

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
  if [ -n "$go" ]; then
    section "go $base"
    "$go" "$base" http1
  fi
done
if has java; then
  section "java $http"
  java "$sources/http/Client.java" "$http"
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
