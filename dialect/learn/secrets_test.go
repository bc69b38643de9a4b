package learn_test

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/jetonhq/jeton/dialect/learn"
)

// TestSecrets pastes credentials as people choose them, each at every place
// where logins have one. The dialect writes them back as they were pasted, and
// they are not in it.
func TestSecrets(t *testing.T) {
	secrets := []string{
		`p&=+%"\é/:x9`, "hunter2!x", "correct horse battery", "my-dog-secret", "dog-password", "the token of Bob", "$dollar$Sign1", "$HOME1x",
		"{braces}9a", "{{curly-Dog}}", "<angle>Zk3", "%percent%Zk3", "YOUR_Real_Pass1", "MY_DOG_SECRET", "[brackets]Q", "it's-0k", "9081726354", "eyJub3QiOiJhIn0.x.y",
		"https://hooks.example.com/T0-B1/zz", "a:b:c-Dog", "2f1c0a6e-77b0-4c11-a5e0-5f0f4d1b9a10", "password-of-ann", "grant-Type9",
	}
	for _, secret := range secrets {
		js, err := json.Marshal(secret)
		if err != nil {
			t.Fatal(err)
		}
		pair := base64.StdEncoding.EncodeToString([]byte("app-1:" + secret))
		for place, options := range map[string]string{
			"form":          "-d " + quoted("grant_type=password&username=ann&password="+url.QueryEscape(secret)),
			"urlencode":     "-d grant_type=client_credentials -d client_id=app-1 --data-urlencode " + quoted("client_secret="+secret),
			"json":          "-H 'Content-Type: application/json' -d " + quoted(`{"user":"ann","pass":`+string(js)+`}`),
			"nested json":   "--json " + quoted(`{"auth":{"identity":{"password":`+string(js)+`}}}`),
			"unknown json":  "--json " + quoted(`{"user":"ann","phrase":`+string(js)+`,"pass":"x1-y2-z3"}`),
			"user":          "-d grant_type=client_credentials -u " + quoted("app-1:"+secret),
			"basic":         "-X POST -H 'Authorization: Basic " + pair + "'",
			"query":         "-G -d client_id=app-1 --data-urlencode " + quoted("client_secret="+secret),
			"header":        "-X POST -H " + quoted("X-Api-Key: "+secret),
			"other header":  "-X POST -H " + quoted("X-Vendor-Pass: "+secret) + " -H 'X-Api-Key: k-1'",
			"bearer":        "-X POST -H " + quoted("Authorization: Bearer "+secret),
			"other scheme":  "-X POST -H " + quoted("Authorization: Vendor "+secret),
			"refresh token": "-d " + quoted("grant_type=refresh_token&refresh_token="+url.QueryEscape(secret)),
		} {
			if strings.Contains(place, "header") || place == "bearer" || place == "other scheme" {
				if strings.ContainsAny(secret, "é") || strings.Contains(secret, " ") && place != "header" {
					continue // no header can hold them as they are
				}
			}
			paste := "curl https://id.example.com/oauth/token " + options + "\n" + `{"access_token": "at-` + "99-zz" + `"}` + "\n"
			d, err := learn.Curl(paste, learn.Options{})
			if err != nil {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%s: the error shows the secret: %v", place, err)
				}
				t.Errorf("%s: %s: %v", place, secret, err)
				continue
			}
			out := string(d.YAML()) + strings.Join(d.Notes, "\n")
			for _, form := range []string{secret, strings.Trim(string(js), `"`), url.QueryEscape(secret), pair, strings.ReplaceAll(secret, "$", "$$"),
				strings.NewReplacer("-", "_", " ", "_").Replace(strings.ToLower(strings.Trim(secret, "{}[]<>$%!")))} {
				if strings.Contains(out, form) {
					t.Errorf("%s: %s came out:\n%s", place, secret, out)
					break
				}
			}
			if err := d.Check(); err != nil {
				t.Errorf("%s: %s: %v\n%s", place, secret, err, d.YAML())
			}
		}
	}
}
