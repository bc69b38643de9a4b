package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The tests of this file are what the vendors document, as command lines, with
// only host, prefix and credentials replaced.

func TestIAdvizeCommands(t *testing.T) {
	p := startDev(t)
	term := newTerminal(t, p)
	term.set("EMAIL", "demo@example.com")
	term.set("PASSWORD", "demo-password")

	login := term.curl(`curl --request POST --url $ISSUER/iadvize/oauth2/token \
		--data "username=$EMAIL&password=$PASSWORD&grant_type=password"`).
		shape(t, map[string]any{"access_token": nil, "expires_in": 86400.0, "token_type": "Bearer", "refresh_token": "none"})
	term.set("TOKEN", login.text("access_token"))
	claims := payload(t, login.text("access_token"))
	if lifetime := claims["exp"].(float64) - claims["iat"].(float64); lifetime != 86400 {
		t.Errorf("the token lives %v s, the answer says 86400", lifetime)
	}

	graph := term.curl(`curl --request POST --url $ISSUER/iadvize/graphql --header "Content-Type: application/json" \
		--header "Authorization: Bearer $TOKEN" --data '{"query": "{ me { id } }"}'`).want(t, 200, "")
	if data, _ := graph.object(t)["data"].(map[string]any); data["me"] == nil {
		t.Errorf("GraphQL answers %s", graph.body)
	}
	term.curl(`curl --request POST --url $ISSUER/iadvize/graphql --header "Content-Type: application/json" \
		--data '{"query": "{ me { id } }"}'`).want(t, 401, "")

	check := `curl --request GET --url $ISSUER/iadvize/_authenticated --header "Authorization: Bearer $TOKEN"`
	term.curl(check).want(t, 200, `{"authenticated": true}`)
	refused := term.curl(strings.ReplaceAll(check, "$TOKEN", "${TOKEN}x")).
		want(t, 401, `{"error_description": "access token not valid", "error": "invalid_token"}`)
	if got := refused.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer ") || !strings.Contains(got, `error="invalid_token"`) {
		t.Errorf("WWW-Authenticate: %q", got)
	}

	// The guide for scripts: generate once, keep, reuse.
	out := term.bash(`
		rm "$CURL_HOME/.curlrc"
		TOKEN=$(curl -s --request POST --url $ISSUER/iadvize/oauth2/token \
			--data "username=$EMAIL&password=$PASSWORD&grant_type=password" | jq -r '.access_token')
		curl -s --url $ISSUER/iadvize/graphql --header "Content-Type: application/json" \
			--header "Authorization: Bearer $TOKEN" --data '{"query": "{ me { id } }"}' | jq -e .data.me.id
		curl -s --url $ISSUER/iadvize/_authenticated --header "Authorization: Bearer $TOKEN" | jq -e .authenticated`)
	if !strings.HasSuffix(out, "true\n") {
		t.Errorf("the guide's script prints %q", out)
	}
}

// TestIAdvizeLoginLimits holds the documented policy: 10 logins a minute for
// each user, then 429.
func TestIAdvizeLoginLimits(t *testing.T) {
	p := startDev(t)
	login := func(user, password string) answer {
		return ask(t, "POST", p.issuer+"/iadvize/oauth2/token",
			"grant_type=password&username="+user+"&password="+password, "Content-Type", form)
	}
	for range 10 {
		login("demo@example.com", "demo-password").want(t, 200, "")
	}
	right, wrong := login("demo@example.com", "demo-password"), login("Demo@Example.com", "wrong")
	for _, a := range []answer{right, wrong} {
		a.want(t, http.StatusTooManyRequests, "")
		if a.header.Get("Retry-After") == "" || a.text("error") == "" {
			t.Errorf("429 with Retry-After %q and body %s", a.header.Get("Retry-After"), a.body)
		}
	}
	if right.body != wrong.body {
		t.Errorf("a blocked user learns whether the password is right: %s, %s", right.body, wrong.body)
	}
	// Others are not blocked, and the token from before stays good.
	login("other@example.com", "wrong").want(t, 400, "")
}

func TestAltrataCommands(t *testing.T) {
	p := startDev(t)
	term := newTerminal(t, p)
	login := `curl -X POST -H "Content-Type: application/x-www-form-urlencoded" -H "x-api-key: demo-api-key" \
		"$ISSUER/altrata/oauth2/token?grant_type=client_credentials" -u "demo:demo-password"`
	shape := map[string]any{"access_token": nil, "expires_in": 28800.0, "token_type": "bearer"}
	first := term.curl(login).shape(t, shape)
	term.set("TOKEN", first.text("access_token"))

	// The vendor's own line wears the token without a scheme and sends no query.
	term.curl(`curl --location --request POST "$ISSUER/altrata/v1/graphql" \
		--header "Authorization: $TOKEN" --header "x-api-key: demo-api-key"`).want(t, 200, "")
	query := `--header "Content-Type: application/json" --data '{"query": "{ profiles(first: 1) { name } }"}'`
	for _, path := range []string{"/v1/graphql", "/v1/graphiql/"} {
		for _, worn := range []string{"Bearer $TOKEN", "$TOKEN"} {
			line := `curl --request POST "$ISSUER/altrata` + path + `" --header "x-api-key: demo-api-key" --header "Authorization: ` + worn + `" ` + query
			if a := term.curl(line).want(t, 200, ""); !strings.Contains(a.body, `"profiles":[{`) {
				t.Errorf("%s as %s answers %s", path, worn, a.body)
			}
		}
		bearer := `curl --request POST "$ISSUER/altrata` + path + `" --header "Authorization: Bearer $TOKEN" ` + query
		for name, a := range map[string]answer{
			"without x-api-key":         term.curl(bearer),
			"with another x-api-key":    term.curl(bearer + ` --header "x-api-key: other-api-key"`),
			"with an x-api-key only":    term.curl(`curl "$ISSUER/altrata` + path + `" --header "x-api-key: demo-api-key" ` + query),
			"with two x-api-key fields": term.curl(bearer + ` --header "x-api-key: demo-api-key" --header "x-api-key: demo-api-key"`),
		} {
			if a.status != 401 && a.status != 400 {
				t.Errorf("%s %s: status %d, want a refusal: %s", path, name, a.status, a.body)
			}
		}
	}

	// A login that fails ends nothing; one that succeeds ends the token before it.
	graph := `curl --request POST "$ISSUER/altrata/v1/graphql" --header "x-api-key: demo-api-key" --header "Authorization: Bearer $TOKEN" ` + query
	term.curl(strings.Replace(login, "demo:demo-password", "demo:wrong", 1)).want(t, 401, "")
	term.curl(strings.Replace(login, "demo-api-key", "other-api-key", 1)).want(t, 401, "")
	term.curl(graph).want(t, 200, "")
	second := term.curl(login).shape(t, shape)
	term.curl(graph).want(t, 401, "")
	term.set("TOKEN", second.text("access_token"))
	term.curl(graph).want(t, 200, "")
}

func TestAlvysCommands(t *testing.T) {
	p := startDev(t)
	term := newTerminal(t, p)
	term.set("TENANT_ID", "acme")
	term.set("CLIENT_ID", "demo-client")
	term.set("CLIENT_SECRET", "demo-secret")
	login := `curl --request POST --url "$ISSUER/alvys/api/authentication/$TENANT_ID/token" \
		--header 'content-type: application/x-www-form-urlencoded' \
		--data grant_type=client_credentials --data "client_id=$CLIENT_ID" --data "client_secret=$CLIENT_SECRET"`
	for _, line := range []string{
		login,
		strings.Replace(login, "/api/", "/api/p/", 1),
		login + ` --data "tenant_id=$TENANT_ID"`,
	} {
		a := term.curl(line).want(t, 200, "")
		if a.text("token_type") != "Bearer" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: Cache-Control %q, body %s", line, a.header.Get("Cache-Control"), a.body)
		}
		term.set("ACCESS_TOKEN", a.text("access_token"))
		me := term.curl(`curl --request GET --url "$ISSUER/alvys/v1/me" --header "Authorization: Bearer $ACCESS_TOKEN"`).want(t, 200, "")
		if !strings.Contains(me.body, `"acme"`) || !strings.Contains(me.body, `"demo-client"`) {
			t.Errorf("/v1/me answers %s", me.body)
		}
	}
	term.curl(`curl --url "$ISSUER/alvys/v1/me"`).want(t, 401, "")

	// Another tenant does not know the client, and says it as if there were no
	// such tenant.
	other := term.curl(strings.Replace(login, "$TENANT_ID", "globex", 1)).want(t, 401, "")
	none := term.curl(strings.Replace(login, "$TENANT_ID", "nowhere", 1)).want(t, 401, "")
	wrong := term.curl(strings.Replace(login, "$CLIENT_SECRET", "wrong", 1)).want(t, 401, "")
	if other.body != none.body || other.body != wrong.body {
		t.Errorf("another tenant, no tenant and a wrong secret can be told apart: %s, %s, %s", other.body, none.body, wrong.body)
	}
	term.curl(login+` --data tenant_id=globex`).want(t, 400, "")
}

func TestWeb1on1Commands(t *testing.T) {
	p := startDev(t, "--data", t.TempDir())
	term := newTerminal(t, p)
	login := `curl -X POST $ISSUER/web1on1/v2/auth/token -H 'Content-Type: application/json' \
		-d '{"email": "admin@example.org", "password": "t0pZ3kR3t"}'`
	shape := map[string]any{"tokenType": "Bearer", "token": nil, "refreshToken": nil, "user": nil, "scope": "admin"}
	first := term.curl(login).shape(t, shape)
	claims := payload(t, first.text("token"))
	if claims["scope"] != "admin" || claims["_id"] != first.text("user") || claims["exp"].(float64)-claims["iat"].(float64) != 24*3600 {
		t.Errorf("claims %v, answer %s", claims, first.body)
	}
	term.set("TOKEN", first.text("token"))
	list := `curl -H "Authorization: Bearer $TOKEN" $ISSUER/web1on1/v2/conversations`
	term.curl(list).want(t, 200, "")

	// Before expiry: GET, with the access token.
	term.set("REFRESH", first.text("refreshToken"))
	get := `curl -G $ISSUER/web1on1/v2/auth/token --data-urlencode "refreshToken=$REFRESH"`
	bearer := ` -H "Authorization: Bearer $TOKEN"`
	if a := term.curl(get); a.status != 401 && a.status != 400 {
		t.Errorf("a refresh by GET without the access token: %d %s", a.status, a.body)
	}
	second := term.curl(get+bearer).shape(t, shape)
	if second.text("refreshToken") == first.text("refreshToken") {
		t.Error("the refresh token did not change")
	}
	// A retry whose answer was lost gets the same successor.
	if again := term.curl(get+bearer).shape(t, shape); again.text("refreshToken") != second.text("refreshToken") {
		t.Error("a retry gets another refresh token than the answer that it lost")
	}

	// After expiry: POST, without one.
	post := func(token string) answer {
		term.set("REFRESH", token)
		return term.curl(`curl -X POST $ISSUER/web1on1/v2/auth/token -H 'Content-Type: application/json' \
			-d "{\"refreshToken\": \"$REFRESH\", \"clientId\": \"admin@example.org\"}"`)
	}
	third := post(second.text("refreshToken")).shape(t, shape)
	term.set("TOKEN", third.text("token"))
	term.curl(list).want(t, 200, "")

	// The successor of the first was used: the first is spent for good, and who
	// presents it ends the family.
	if a := post(first.text("refreshToken")); a.status != 400 || a.text("error") != "invalid_grant" {
		t.Errorf("a spent refresh token: %d %s", a.status, a.body)
	}
	if a := post(third.text("refreshToken")); a.status != 400 {
		t.Errorf("the newest refresh token of an ended family: %d %s", a.status, a.body)
	}
	term.curl(list).want(t, 403, "") // an ended token is answered like an expired one
}

// TestWeb1on1Scopes checks that scopes cascade, and that an API key, which is
// made with a list of scopes, is worn as the bearer.
func TestWeb1on1Scopes(t *testing.T) {
	data := t.TempDir()
	p := startDev(t, "--data", data)
	call := func(method, path, token string) int {
		return ask(t, method, p.issuer+"/web1on1/v2/"+path, "{}", "Authorization", "Bearer "+token, "Content-Type", "application/json").status
	}
	got := map[string][]int{}
	for _, role := range []string{"guest", "agent", "bot", "admin"} {
		login := ask(t, "POST", p.issuer+"/web1on1/v2/auth/token", `{"email":"`+role+`@example.org","password":"t0pZ3kR3t"}`, "Content-Type", "application/json")
		token := login.want(t, 200, "").text("token")
		got[role] = []int{call("GET", "users/me", token), call("GET", "conversations", token), call("GET", "users", token), call("GET", "services", token)}
	}
	want := map[string][]int{
		"guest": {200, 403, 403, 403},
		"agent": {200, 200, 403, 403},
		"bot":   {200, 200, 200, 403},
		"admin": {200, 200, 200, 200},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("me, conversations, users, services (-want +got):\n%s", diff)
	}

	out, _ := run(t, "", "key", "add", "nightly", "--scope", "agent,bot", "--realm", "web1on1", "--json", "-c", data+"/jeton.yaml")
	var key struct{ Key string }
	if err := json.Unmarshal([]byte(out), &key); err != nil {
		t.Fatal(err)
	}
	if status := call("GET", "users", key.Key); status != 200 {
		t.Errorf("an API key of scope bot lists users: %d", status)
	}
	if status := call("GET", "services", key.Key); status != 403 {
		t.Errorf("an API key of scope bot lists services: %d", status)
	}
}

// payload returns the claims of a JWT without looking at the signature.
func payload(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("a token of %d parts is no signed JWT", len(parts))
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(text, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}
