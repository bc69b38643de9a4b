package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/jetonhq/jeton/console"
)

// writeTour prints how to use what runs. The text is a shell script, so that
// any part of it can be pasted; a test runs all of it.
func (a *app) writeTour(ctx context.Context, d *dev, s *server) error {
	link, err := s.console.NewLink(ctx)
	if err != nil {
		return err
	}
	data := "kept in " + d.data
	if d.temporary {
		data = "in " + d.data + ", gone when this ends"
	}
	_, err = io.WriteString(a.out, strings.NewReplacer(
		"{issuer}", "http://"+d.listen, "{broker}", "http://"+d.brokerListen,
		"{console}", link, "{data}", data, "{config}", console.ShellQuote(d.configFile()), "{jeton}", console.ShellQuote(program()),
	).Replace(tour))
	return err
}

// program returns what to type for this program.
func program() string {
	if _, err := exec.LookPath("jeton"); err == nil {
		return "jeton"
	}
	if path, err := os.Executable(); err == nil {
		return path
	}
	return "jeton"
}

const tour = `# Jeton runs on this machine with demo data. Ctrl-C ends it.
#
#   issuer and guarded APIs   {issuer}
#   broker                    {broker}
#   admin page                {console}
#                             (signs in once; the next link: {jeton} console link -c {config})
#   data                      {data}
#
# Paste any of the lines below into another terminal. They use curl and jq.

# iadvize: user demo@example.com, password demo-password. Log in, check the token, call the API.
TOKEN=$(curl -s {issuer}/iadvize/oauth2/token -d grant_type=password -d username=demo@example.com -d password=demo-password | jq -r .access_token)
curl -s {issuer}/iadvize/_authenticated -H "Authorization: Bearer $TOKEN"
curl -s {issuer}/iadvize/graphql -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{"query":"{ me { id } projects { name language } }"}'

# altrata: user demo, password demo-password, API key demo-api-key. A new token ends the one before it.
TOKEN=$(curl -s -X POST '{issuer}/altrata/oauth2/token?grant_type=client_credentials' -u demo:demo-password -H 'x-api-key: demo-api-key' | jq -r .access_token)
curl -s {issuer}/altrata/v1/graphql -H "Authorization: Bearer $TOKEN" -H 'x-api-key: demo-api-key' -H 'Content-Type: application/json' -d '{"query":"{ profiles(first: 2) { name role organization { name } } }"}'

# alvys: client demo-client, secret demo-secret, in the tenant acme. The tenant globex does not know it.
TOKEN=$(curl -s {issuer}/alvys/api/authentication/acme/token -d grant_type=client_credentials -d client_id=demo-client -d client_secret=demo-secret | jq -r .access_token)
curl -s {issuer}/alvys/v1/me -H "Authorization: Bearer $TOKEN"

# web1on1: users guest@, agent@, bot@ and admin@example.org, password t0pZ3kR3t. The last line refreshes the token.
LOGIN=$(curl -s {issuer}/web1on1/v2/auth/token -H 'Content-Type: application/json' -d '{"email":"admin@example.org","password":"t0pZ3kR3t"}')
TOKEN=$(jq -r .token <<< "$LOGIN")
curl -s {issuer}/web1on1/v2/conversations -H "Authorization: Bearer $TOKEN"
curl -s {issuer}/web1on1/v2/contacts -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{"name":"Mary"}'
curl -s -G {issuer}/web1on1/v2/auth/token -H "Authorization: Bearer $TOKEN" --data-urlencode "refreshToken=$(jq -r .refreshToken <<< "$LOGIN")"

# oauth2, the standard: client demo-client, secret demo-secret; user demo@example.com, password demo-password.
TOKEN=$(curl -s {issuer}/oauth2/token -u demo-client:demo-secret -d grant_type=client_credentials | jq -r .access_token)
curl -s {issuer}/oauth2/introspect -u demo-client:demo-secret -d "token=$TOKEN"
curl -s {issuer}/oauth2/token -u demo-client:demo-secret -d grant_type=password -d username=demo@example.com -d password=demo-password
curl -s {issuer}/.well-known/oauth-authorization-server/oauth2

# The broker has an account at each of the four: it logs in once and hands the token out, or puts it on your calls.
curl -s {broker}/v1/accounts
curl -s {broker}/v1/tokens/iadvize
curl -s {broker}/v1/tokens/altrata
curl -s {broker}/v1/tokens/alvys
curl -s {broker}/v1/tokens/web1on1
curl -s {broker}/to/iadvize/graphql -H 'Content-Type: application/json' -d '{"query":"{ me { id } }"}'
curl -s {broker}/to/altrata/v1/graphql -H 'Content-Type: application/json' -d '{"query":"{ profiles(first: 2) { name } }"}'
curl -s {broker}/to/alvys/me
curl -s {broker}/to/web1on1/conversations

# The other commands work on what runs here.
{jeton} token iadvize -c {config}
{jeton} token iadvize -c {config} | {jeton} check -c {config}
{jeton} exec web1on1 -c {config} -- sh -c 'curl -s {issuer}/web1on1/v2/contacts -H "Authorization: Bearer $JETON_TOKEN"'
{jeton} user list --realm web1on1 -c {config}
`
