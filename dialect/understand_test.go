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
