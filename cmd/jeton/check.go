package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/spf13/cobra"

	"github.com/jetonhq/jeton"
)

// A finding is what jeton check has to say about a token.
type finding struct {
	Kind    string         `json:"kind"` // "jwt" or "opaque"
	Good    *bool          `json:"good"` // null: nobody was there to ask
	Reason  string         `json:"reason,omitempty"`
	Checked string         `json:"checked,omitempty"` // against what
	Header  map[string]any `json:"header,omitempty"`
	Claims  map[string]any `json:"claims,omitempty"`
	Expires *time.Time     `json:"expires_at,omitempty"`
}

func (a *app) checkCommand() *cobra.Command {
	var realm, jwks string
	c := a.jsonFlag(&cobra.Command{
		Use:   "check",
		Short: "Say what the token on standard input is, and whether it is good",
		Long: `Reads a token from standard input, prints what it says, and checks it: against the
realms of the configuration, if there is one, with everything that can end a token; or
against the keys of --jwks, which tell whether it is genuine and not expired, but not
whether it was revoked.

Exit code 0 means that the token is good. With nothing to check against it is 1, after
the token was printed.`,
		Example: "  jeton token iadvize | jeton check",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			named := c.Flags().Changed("config") || os.Getenv("JETON_CONFIG") != "" || realm != ""
			return a.checkToken(c.Context(), realm, jwks, named)
		},
	})
	c.Flags().StringVar(&realm, "realm", "", "`realm` that is to have issued the token; default: any of the configuration")
	c.Flags().StringVar(&jwks, "jwks", "", "file or `URL` of a key set (RFC 7517) to check against instead")
	return c
}

// checkToken does the work of the command. A configuration that was not named
// need not be there.
func (a *app) checkToken(ctx context.Context, realm, jwks string, named bool) error {
	bearer, err := await(ctx, func() (jeton.Secret, error) { return readSecret(a.in) })
	if err != nil {
		return fmt.Errorf("the token on standard input %w", err)
	}
	bearer = jeton.NewSecret(strings.TrimSpace(bearer.Reveal()))
	f := decodeToken(bearer)
	switch {
	case jwks != "":
		err = f.checkKeys(ctx, bearer, jwks)
	case named || fileExists(a.configFile):
		err = a.checkRealms(ctx, f, bearer, realm)
	default:
		f.Reason = "not checked: there is neither a configuration (-c) nor a key set (--jwks)"
	}
	if err != nil {
		return err
	}
	if err := a.writeFinding(f); err != nil {
		return err
	}
	if f.Good == nil || !*f.Good {
		return errors.New(f.Reason)
	}
	return nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// decodeToken reads what the token says of itself, without believing it.
func decodeToken(bearer jeton.Secret) *finding {
	f := &finding{Kind: "opaque"}
	parts := strings.Split(bearer.Reveal(), ".")
	if len(parts) != 3 || decodePart(parts[0], &f.Header) != nil || decodePart(parts[1], &f.Claims) != nil {
		f.Header, f.Claims = nil, nil
		return f
	}
	f.Kind = "jwt"
	if exp, err := number(f.Claims["exp"]); err == nil {
		at := time.Unix(exp, 0).UTC()
		f.Expires = &at
	}
	return f
}

func decodePart(part string, into *map[string]any) error {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return d.Decode(into)
}

func number(v any) (int64, error) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, errors.New("no number")
	}
	return n.Int64()
}

func (f *finding) decide(good bool, checked, reason string) {
	f.Good, f.Checked, f.Reason = &good, checked, reason
}

// checkRealms asks the realm that issued the token, as a guard would.
func (a *app) checkRealms(ctx context.Context, f *finding, bearer jeton.Secret, name string) (err error) {
	c, err := a.config()
	if err != nil {
		return err
	}
	realms := []realmConfig{}
	if name != "" {
		r, err := c.choose(name)
		if err != nil {
			return err
		}
		realms = append(realms, r)
	} else if c.issuer != nil {
		realms = c.issuer.realms
	}
	if len(realms) == 0 {
		f.Reason = "not checked: " + c.file + " declares no realms; name a key set with --jwks"
		return nil
	}
	s, err := openShared(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, r := range realms {
		realm, err := openRealm(ctx, c, r, s, nil, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		switch _, err := realm.Verify(ctx, bearer); {
		case err == nil:
			f.decide(true, "realm "+r.name, "")
			return nil
		case !errors.Is(err, jeton.InvalidToken):
			return err
		case len(realms) == 1 || f.Claims["iss"] == realm.URL():
			f.decide(false, "realm "+r.name, "the token is not good: expired, ended, changed or never issued by the realm")
			return nil
		}
	}
	f.decide(false, "all realms of "+c.file, "no realm of the configuration finds the token good")
	return nil
}

// checkKeys checks the signature with the keys of a set, and the times.
func (f *finding) checkKeys(ctx context.Context, bearer jeton.Secret, from string) error {
	set, err := readKeys(ctx, from)
	if err != nil {
		return err
	}
	f.decide(false, "the keys of "+from, "the token is not good: no key of the set signed it")
	algs := []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.ES512, jose.EdDSA, jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}
	signed, err := jose.ParseSignedCompact(bearer.Reveal(), algs)
	if err != nil {
		f.Reason = "the token is not good: not a JWT that such keys sign"
		return nil
	}
	for _, key := range set.Keys {
		if signed.Signatures[0].Header.KeyID != key.KeyID || !key.IsPublic() {
			continue
		}
		if _, err := signed.Verify(key); err == nil {
			f.decideTimes(time.Now())
		}
	}
	return nil
}

// decideTimes decides about a token whose signature is right.
func (f *finding) decideTimes(now time.Time) {
	nbf, err := number(f.Claims["nbf"])
	switch {
	case f.Expires == nil:
		f.Reason = "the token is genuine, but does not say when it expires"
	case !now.Before(*f.Expires):
		f.Reason = "the token expired at " + stamp(*f.Expires)
	case err == nil && now.Before(time.Unix(nbf, 0)):
		f.Reason = "the token is not good before " + stamp(time.Unix(nbf, 0))
	default:
		f.decide(true, f.Checked, "")
	}
}

// readKeys reads a key set from a file, or from a URL.
func readKeys(ctx context.Context, from string) (*jose.JSONWebKeySet, error) {
	var b []byte
	var err error
	if u, urlErr := url.Parse(from); urlErr == nil && (u.Scheme == "https" || u.Scheme == "http") {
		if u.Scheme == "http" && !isLoopback(u.Host) && !isLoopback(u.Host+":80") {
			return nil, errors.New("--jwks: keys that came over http:// prove nothing; use https://")
		}
		b, err = fetch(ctx, u)
	} else {
		b, err = os.ReadFile(from)
	}
	if err != nil {
		return nil, fmt.Errorf("read the key set: %w", reason(err))
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, fmt.Errorf("%s is no key set (RFC 7517)", from)
	}
	return &set, nil
}

func fetch(ctx context.Context, u *url.URL) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, jeton.WithoutURL(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", u.Redacted(), answer.Status)
	}
	return io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
}

// writeFinding prints what the token says and whether it is good.
func (a *app) writeFinding(f *finding) error {
	if a.json {
		return a.writeJSON(f)
	}
	verdict := "not known"
	if f.Good != nil {
		verdict = map[bool]string{true: "yes", false: "no"}[*f.Good]
	}
	fields := []field{{"kind", f.Kind}, {"good", verdict}, {"reason", f.Reason}, {"checked", f.Checked}}
	if f.Expires != nil {
		fields = append(fields, field{"expires", stamp(*f.Expires) + " (" + until(*f.Expires, time.Now()) + ")"})
	}
	for _, part := range []struct {
		title  string
		values map[string]any
	}{{"header", f.Header}, {"claim", f.Claims}} {
		names := make([]string, 0, len(part.values))
		for name := range part.values {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			value, err := json.Marshal(part.values[name])
			if err != nil {
				return err
			}
			fields = append(fields, field{part.title + " " + name, string(value)})
		}
	}
	return a.writeFields(fields)
}

// until says how far away an instant is.
func until(t, now time.Time) string {
	if d := t.Sub(now); d > 0 {
		return "in " + d.Round(time.Second).String()
	}
	return now.Sub(t).Round(time.Second).String() + " ago"
}
