package dialect_test

import (
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
