package dialect_test

import (
	"net/http"
	"testing"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// TestSentBasic: what goes in HTTP Basic is laid beside the dialect too.
func TestSentBasic(t *testing.T) {
	d, err := dialect.Parse("x.yaml", []byte("dialect: x\ntoken: {POST: https://x.example/t, basic: $client_id:$client_secret}\n"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := d.Sent(d.Login, jeton.Vars{"client_id": "app", "client_secret": "s3cret:with a colon"})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if f.Place == "header authorization" {
			if !f.Fits || f.Got == "" || f.Want != "Basic $client_id:$client_secret" {
				t.Errorf("%+v", f)
			}
			return
		}
	}
	t.Errorf("no Authorization header in %+v", list)
}

// TestUnderstandNumber: a number that stands for something secret is not shown.
func TestUnderstandNumber(t *testing.T) {
	d, err := dialect.Parse("x.yaml", []byte("dialect: x\ntoken: {POST: https://x.example/t, json: {u: $username}, returns: {t: $access_token, s: $session_code, e: $expires_in, v: 2}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{}
	for _, f := range d.Understand(d.Login, 200, nil, []byte(`{"t":"abc","s":987654321,"e":3600,"v":2}`)) {
		shown[f.Place] = f.Got
	}
	for place, want := range map[string]string{"s": "(number of 9 characters)", "e": "3600", "v": "2"} {
		if shown[place] != want {
			t.Errorf("%s is shown as %q, want %q", place, shown[place], want)
		}
	}
}

// TestUnderstandLength: what is not shown is counted as people do.
func TestUnderstandLength(t *testing.T) {
	d := parsed(t, "dialect: x\ntoken: {POST: https://x.example/t, json: {u: $username}, returns: {t: $access_token, s: $session_code}}\n")
	for _, c := range []struct {
		status      int
		body        string
		place, want string
	}{
		{200, `{"t":"a","s":7}`, "t", "(text of 1 character)"},
		{200, `{"t":"a","s":7}`, "s", "(number of 1 character)"},
		{200, `{"t":"éa","s":""}`, "t", "(text of 2 characters)"},
		{200, `{"t":"éa","s":""}`, "s", "(text of 0 characters)"},
		{500, "x", "body", "(1 byte)"},
		{500, "no JSON", "body", "(7 bytes)"},
	} {
		for _, f := range d.Understand(d.Login, c.status, nil, []byte(c.body)) {
			if f.Place == c.place && f.Got != c.want {
				t.Errorf("%d %s: %s is shown as %q, want %q", c.status, c.body, f.Place, f.Got, c.want)
			}
		}
	}
}

// TestUnderstandMoments: what cannot be read as a length of time or an instant
// is told, though a client has no use for it and goes on.
func TestUnderstandMoments(t *testing.T) {
	d, err := dialect.Parse("x.yaml", []byte("dialect: x\ntoken: {POST: https://x.example/t, json: {u: $username}, returns_headers: {x-ends: $expires_at}, returns: {t: $access_token, e: $expires_in, r: $refresh_expires_in}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ends, body string
		fits       bool
	}{
		{"2030-01-01T00:00:00Z", `{"t":"abc","e":3600,"r":"7200"}`, true},
		{"soon", `{"t":"abc","e":"2030-01-01T00:00:00Z","r":"never"}`, false},
	} {
		header := http.Header{"X-Ends": {c.ends}}
		for _, f := range d.Understand(d.Login, 200, header, []byte(c.body)) {
			if f.Want != "$access_token" && f.Fits != c.fits {
				t.Errorf("%s: %+v", c.body, f)
			}
		}
	}
}
