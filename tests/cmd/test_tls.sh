# A teacher's certificate is checked: nothing is sent to a server that cannot prove its name.
. "$(dirname "$0")/../lib.sh"

command -v openssl >"$out" || { skip "certificates" "there is no openssl(1)" && exit 0; }
port=$((21000 + $$ % 20000))
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
    >"$out" 2>&1 || { skip "certificates" "openssl makes none here" && exit 0; }
openssl s_server -accept "$port" -cert cert.pem -key key.pem -www >server.log 2>&1 &
server_pid=$!
trap 'kill "$server_pid" 2>/dev/null; test_finish' EXIT
for _ in $(seq 100); do (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break || sleep 0.1; done
ask() { # ask HOST: have a task drafted there
    rm -rf p
    "$EDGESTILL" init p --task "Say what is late." --device rpi5-8gb --base embedded --teacher "https://$1:$port/v1" --teacher-model m --quiet &&
        "$EDGESTILL" task --yes -C p
}
expect 1 "a certificate that nobody vouches for" ask localhost
has "is refused, and that is said" "$err" "certificate"
