package learn_test

import (
	"encoding/base64"
	"errors"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialect/learn"
	"github.com/jetonhq/jeton/dialects"
)

// TestPages learns a dialect from each paste in testdata, which are in the
// styles of vendors' pages with invented credentials, and tries it.
func TestPages(t *testing.T) {
	for _, p := range pages(t, "testdata/*.txtar", 65) {
		t.Run(p.name(), func(t *testing.T) {
			d, err := learn.Curl(p.input(), learn.Options{})
			if err != nil {
				t.Fatal(err)
			}
			p.learned(t, d, "yaml", "notes")
			out := string(d.YAML()) + lines(d.Notes)
			for secret := range strings.FieldsSeq(strings.TrimPrefix(string(p.Comment), "secrets:")) {
				if !strings.Contains(p.input(), secret) || strings.Contains(out, secret) {
					t.Errorf("the secret %s is not in the paste, or is in what was learned", secret)
				}
			}
		})
	}
}

// TestSeeds holds what is learned from the curl lines of four vendors' pages
// against the dialects that ship: both send the same login.
func TestSeeds(t *testing.T) {
	vars := jeton.Vars{"username": "ann@example.org", "password": `p&=+%"\é/:`, "api_key": "k-77", "tenant_id": "t-1",
		"client_id": "c-1", "client_secret": "s&=+ 1", "scope": ""}
	for _, name := range []string{"altrata", "alvys", "iadvize", "web1on1"} {
		t.Run(name, func(t *testing.T) {
			draft, err := learn.Curl(readPage(t, "testdata/"+name+".txtar").input(), learn.Options{})
			if err != nil {
				t.Fatal(err)
			}
			learned, err := dialect.Parse(name, draft.YAML())
			if err != nil {
				t.Fatal(err)
			}
			shipped, err := dialects.Load(name)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(written(t, shipped, shipped.Login, vars), written(t, learned, learned.Login, vars)); diff != "" {
				t.Errorf("the login differs from that of the shipped dialect:\n%s", diff)
			}
			if shipped.Refresh != nil && len(shipped.Refresh) != len(learned.Refresh) {
				t.Fatalf("%d ways to refresh, not %d", len(learned.Refresh), len(shipped.Refresh))
			}
			vars["refresh_token"], vars["access_token"] = "r-1", "a-1"
			for i := range shipped.Refresh {
				if diff := cmp.Diff(written(t, shipped, shipped.Refresh[i], vars), written(t, learned, learned.Refresh[i], vars)); diff != "" {
					t.Errorf("a refresh differs from that of the shipped dialect:\n%s", diff)
				}
			}
		})
	}
}

// written is a request as it goes over the wire.
func written(t *testing.T, d *dialect.Dialect, x *dialect.Exchange, vars jeton.Vars) string {
	t.Helper()
	r, err := d.WriteRequest(t.Context(), x, nil, vars)
	if err != nil {
		t.Fatal(err)
	}
	b, err := httputil.DumpRequestOut(r, true)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestRefusals checks that what cannot be learned is refused with a place and a
// reason, and without a word of what was pasted.
func TestRefusals(t *testing.T) {
	const secret = "Zq9xW2-Kd7Secret"
	for _, c := range []struct{ paste, want string }{
		{"hello", "learn: the paste has no curl command"},
		{"curl -d client_secret=" + secret, "learn: line 1: the curl command has no URL"},
		{"\n\ncurl -d 'client_secret=" + secret, "learn: line 3: a single quote is not closed"},
		{`curl -d "client_secret=` + secret, "learn: line 1: a double quote is not closed"},
		{"curl https://a.example.com/token -d @" + secret, "learn: line 1: the body is in a file (--data @...): put the text of the file in its place"},
		{"curl https://a.example.com/token -H @headers.txt -u a:" + secret, "learn: line 1: headers are in a file (--header @...): put its lines in its place, each behind a --header"},
		{"curl https://a.example.com/token -F file=@" + secret, "learn: line 1: the request uploads a file (--form): a dialect has no such thing"},
		{"curl https://a.example.com/token --data-urlencode password@" + secret, "learn: line 1: the value is in a file (--data-urlencode name@file): write name=value"},
		{"curl https://a.example.com/token -K config -u a:" + secret, "learn: line 1: the request needs a file (--config): paste the command without it"},
		{"curl https://a.example.com/token -u", "learn: line 1: nothing follows the option --user"},
		{"curl https://a.example.com/token -n", "learn: line 1: the request needs a file (--netrc): paste the command without it"},
		{"curl https://a.example.com/token --digest -u a:" + secret, "learn: line 1: curl signs the request or answers a challenge (--digest), which cannot be learned"},
		{"curl https://a.example.com/token --aws-sigv4 aws:amz:r:s -u a:" + secret, "learn: line 1: curl signs the request or answers a challenge (--aws-sigv4), which cannot be learned"},
		{"curl https://a.example.com/token -d @- <<" + secret + "\n" + secret + "=\n", "learn: line 1: the text behind << has no end"},
		{"curl https://a.example.com/token --url-query a@" + secret, "learn: line 1: the value is in a file (--url-query name@file): write name=value"},
		{"curl https://a.example.com/token --pasword " + secret, "learn: line 1: unknown option --pasword"},
		{"curl https://a.example.com/token --" + secret, "learn: line 1: an option that curl does not have"},
		{"curl https://a.example.com/token -X " + secret, "learn: line 1: the method is none that a dialect can have"},
		{"curl https://a.example.com/token -X GET -d client_secret=" + secret, "learn: line 1: a GET has no body in a dialect: is the option -G missing, or -X POST meant?"},
		{"curl https://a.example.com/token -H " + secret, "learn: line 1: a header of the curl command is not of the form Name: value"},
		{"curl https://a.example.com/token -H 'content-type: application/json' -d '{\"password\": \"" + secret + "\"'", "learn: line 1: the body of the curl command: not JSON at line 1"},
		{"curl https://a.example.com/token -d '<a><b>" + secret + "</a>'", "learn: line 1: the body of the curl command: not XML"},
		{"curl https://a.example.com/token -d '" + secret + "=x&grant_type=password'", "learn: line 1: the name of a field in the form is not a word: is a quote missing, or the value's encoding?"},
		{"curl https://a.example.com/token --json '{\"user\": {\"" + secret + "\": \"ann\"}, \"password\": \"x\"}'", "learn: line 1: the name of a field in the body is not a word: is a quote missing, or the value's encoding?"},
		{"curl https://a.example.com/token -u a:" + secret + "\nHTTP/1.1 401 Unauthorized\n\n{\"error\": \"" + secret + "\"}", "learn: the answer to the login is a refusal (401): paste what the vendor answers to a good login, or leave it out"},
		{"curl https://a.example.com/token -u a:" + secret + " --oauth2-bearer " + secret, "learn: line 1: the request has more than one value for the Authorization header"},
		{strings.Repeat("curl https://a.example.com/items\n", 65), "learn: the paste has more than 64 curl commands: keep the login, a call and the refresh"},
		{strings.Repeat("x", 300<<10), "learn: the paste is larger than 256 KiB: leave out what is neither the commands nor their answers"},
		{"curl https://a.example.com/items", "learn: none of the commands looks like a login: it sends credentials, or its answer has a token"},
		{"curl https://a.example.com/token -u a:" + secret + "\n{\"error\": \"" + secret + "\"}", "learn: the answer to the login has no field that looks like a token: paste the whole answer, with its headers (curl -i) if the token is there"},
		{"curl https://a.example.com/token -u a:" + secret + "\n<!DOCTYPE html>\n<html><p>Your token " + secret + "<br></html>", "learn: the answer to the login is an HTML page without a token: paste what the vendor answers to a good login, or leave it out"},
		{"curl https://" + secret + ".com/" + secret + "/token -d client_secret=" + secret + " -d grant_type=client_credentials", "learn: a secret of the paste also stands where no hole can be; write <password> or the like in its place"},
	} {
		if d, err := learn.Curl(c.paste, learn.Options{}); err == nil {
			t.Errorf("%s\nwas learned:\n%s", c.paste, d.YAML())
		} else if err.Error() != c.want || strings.Contains(err.Error(), secret) {
			t.Errorf("%s\ngot  %v\nwant %s", c.paste, err, c.want)
		}
	}
	if _, err := learn.Curl("curl https://a.example.com/token -u a:b", learn.Options{Name: "A name"}); err == nil {
		t.Error("a name with a blank was taken")
	}
}

// TestQuestions checks that a question is asked only if the paste leaves
// something open, and that its answer counts.
func TestQuestions(t *testing.T) {
	for _, c := range []struct{ paste, question, answer, want string }{
		{"curl https://a.example.com/login -u ann:7hj-22x -X POST\n{\"token\": \"x\"}", "What is the pair of the Basic header?", "client_id and client_secret", "basic: $client_id:$client_secret"},
		{"curl https://a.example.com/login -d user=ann -d password=x\n{\"token\": \"x\", \"expiresIn\": 3600000}", "In what does the answer count expiresIn?", "seconds", "expiresIn: $expires_in}"},
		{"curl https://a.example.com/login -d user=ann -d password=x\n{\"sessionId\": \"a1b2c3d4e5\", \"user_session_id\": \"f1b2c3d4e5\", \"auth\": {\"api_session_id\": \"f1b2c3d4e6\"}}", "", "", "sessionId: $access_token"},
		{"curl https://a.example.com/login -d user=ann -d password=x\n{\"authToken\": \"a1b2c3d4e5\", \"bearerToken\": \"f1b2c3d4e5\"}", "Which field of the answer is the token?", "bearerToken", "bearerToken: $access_token"},
		{"curl https://a.example.com/token -d grant_type=client_credentials -u a:b", "", "", "basic: $client_id:$client_secret"},
		{"curl https://a.example.com/login -d user=ann -d password=x -d department=sales", "What is the text of the field department?", "the same for every account", "department: sales"},
		{"curl https://a.example.com/login -d user=ann -d password=x -d department=sales", "What is the text of the field department?", "an account's own", "department: $department"},
		{"curl https://a.example.com/login -u ann:x --json '[\"sales\"]'", "What is the text of the field without a name?", "the same for every account", "json: [sales]"},
	} {
		asked := ""
		d, err := learn.Curl(c.paste, learn.Options{Ask: func(q learn.Question) (string, error) {
			asked += q.Text
			return c.answer, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if asked != c.question || !strings.Contains(string(d.YAML()), c.want) {
			t.Errorf("asked %q, want %q; learned\n%s", asked, c.question, d.YAML())
		}
		if err := d.Check(); err != nil {
			t.Error(err)
		}
	}
	wrong := errors.New("no answer")
	_, err := learn.Curl("curl https://a.example.com/login -u ann:x -X POST", learn.Options{Ask: func(learn.Question) (string, error) { return "", wrong }})
	if !errors.Is(err, wrong) {
		t.Errorf("got %v", err)
	}
}

// FuzzCurl puts a secret where pages have one, into whatever stands around it.
// The parser does not panic, the secret is in nothing that comes out, and what
// is accepted becomes a file that sends the pasted login.
func FuzzCurl(f *testing.F) {
	const secret = "S3cr3t+Zq9/xW2=Kd7"
	for i, p := range pages(f, "testdata/*.txtar", 65) {
		f.Add("", strings.TrimPrefix(p.input(), "curl"), uint8(i))
		f.Add(p.input(), "", uint8(i))
	}
	f.Fuzz(func(t *testing.T, before, after string, place uint8) {
		places := []string{
			`-u "id:` + secret + `"`, `-d 'client_secret=` + url.QueryEscape(secret) + `'`, `-H "Authorization: Bearer ` + secret + `"`,
			`-d '{"password": "` + secret + `"}'`, `-H 'X-Api-Key: ` + secret + `'`, `-b session=` + secret, `--data-urlencode password=` + secret,
			`-d '<a><password>` + secret + `</password></a>'`, `-H 'Authorization: Basic ` + base64.StdEncoding.EncodeToString([]byte("id:"+secret)) + `'`,
			`--json '{"` + secret + `": "x"}'`, `-d '<a><b x="` + secret + `"/></a>'`, `-F 'password="` + secret + `";type=text/plain'`, `--url-query key=` + secret,
			`-d @- <<< '{"password": "` + secret + `"}'`, "-d \"$(cat <<EOF\n{'password': '" + secret + "'}\nEOF\n)\"", "\n{\"tokens\": [{}, {\"type\": \"access\", \"value\": \"" + secret + "\"}]}\n",
			"\n{\"access_token\": \"" + secret + "\"}\n", "\nHTTP/1.1 200 OK\nX-Auth-Token: " + secret + "\n\n",
		}
		paste := "curl https://api.example.com/oauth/token " + before + " " + places[int(place)%len(places)] + " " + after
		keeps(t, paste, secret)
	})
}

// FuzzMessages is [FuzzCurl] for a login that stands on the page as HTTP.
func FuzzMessages(f *testing.F) {
	const secret = "S3cr3t+Zq9/xW2=Kd7"
	for i := range uint8(4) {
		f.Add("", "{\"token\": \"abc\"}", i)
		f.Add("Host: a.example.com\nAccept: application/json\n", "\nHTTP/1.1 200 OK\n\n{}\n\nGET /v1/me\nAuthorization: Bearer x\n", i)
	}
	f.Fuzz(func(t *testing.T, headers, after string, place uint8) {
		places := []string{
			"X-Api-Key: " + secret + "\n\n", "\n{\"user\": \"ann\", \"password\": \"" + secret + "\"}\n",
			"\ngrant_type=client_credentials&client_secret=" + url.QueryEscape(secret) + "\n", "Authorization: Bearer " + secret + "\n\n{\"a\": \"" + secret + "\"}\n",
		}
		keeps(t, "The API is at https://api.example.com/.\n\nPOST /v1/login HTTP/1.1\n"+headers+places[int(place)%len(places)]+after, secret)
	})
}

// keeps checks that what is learned of a paste keeps its secret, and is a file
// that sends the pasted login.
func keeps(t *testing.T, paste, secret string) {
	t.Helper()
	d, err := learn.Curl(paste, learn.Options{})
	if err != nil {
		if strings.Contains(err.Error(), secret) {
			t.Fatalf("the secret is in the error: %v", err)
		}
		return
	}
	out := string(d.YAML()) + strings.Join(d.Notes, "\n")
	if strings.Contains(out, secret) || strings.Contains(out, base64.StdEncoding.EncodeToString([]byte("id:"+secret))) {
		t.Fatalf("the secret came out:\n%s", out)
	}
	err = d.Check()
	if err != nil && strings.Contains(err.Error(), secret) {
		t.Fatalf("the secret is in the error: %v", err)
	}
	if err != nil && (strings.Contains(err.Error(), "not YAML") || strings.Contains(err.Error(), "is not the pasted one")) {
		t.Fatalf("%v:\n%s\n%s", err, paste, d.YAML())
	}
}
