package law

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// samples are values that break a codec which quotes by hand.
var samples = []string{
	"a b", "a+b", "50%", "%41", "%zz", "x&y=z", "a:b", `"quoted"`, `back\slash`, "it's", "é", "日本語", "🔑", "<tag>&amp;", "]]>",
	"line\nbreak", "line\r\nbreak", "tab\there", "nul\x00", "trailing ", " leading", "/", "..", ".", "a/b", "#", "?", "$name", "${x}", "$$",
	"null", "true", "false", "0", "-1", "1e9", "none", "\u2028", "\ufeff", "a;b", "a,b", "a=b", "=", "{}", "[]", "Bearer x", "x.y.z",
	strings.Repeat("long/", 400), "\u202egnp.exe", "e\u0301", "\x7f",
}

const (
	tameLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	wordLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:/!#$%&'()*+;<=>?@[]^`{|}~"
)

// A source draws values for the variables of a dialect.
type source struct {
	*rand.Rand
	d     *dialect.Dialect
	kinds map[string]string
	url   string // what a URL that an answer gives is
}

func (s *source) letters(from string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = from[s.IntN(len(from))]
	}
	return string(b)
}

// hostile draws a text of any form.
func (s *source) hostile() string {
	if s.IntN(2) == 0 {
		return samples[s.IntN(len(samples))]
	}
	var b strings.Builder
	for range 1 + s.IntN(40) {
		switch s.IntN(4) {
		case 0:
			b.WriteByte(byte(' ' + s.IntN(95)))
		case 1:
			b.WriteString([]string{"&", "=", "+", "%", `"`, `\`, ":", "/", " ", "<", ">", "'", ",", ";", "$"}[s.IntN(15)])
		case 2:
			b.WriteRune(rune(0xa0 + s.IntN(0x2000)))
		default:
			b.WriteByte(tameLetters[s.IntN(len(tameLetters))])
		}
	}
	return b.String()
}

// value draws a value as the meaning of the variable allows. A value that is not
// hostile can stand anywhere.
func (s *source) value(name string, hostile bool) string {
	for _, v := range s.d.Vars {
		if v.Name == name && v.Choice != nil {
			return v.Choice[s.IntN(len(v.Choice))]
		}
	}
	kind := s.kinds[name]
	if pair, ok := Keys(kind); ok {
		return pair[0]
	}
	switch kind {
	case "url":
		return s.url
	case "seconds":
		return strconv.Itoa(1 + s.IntN(1e8))
	case "minutes":
		return strconv.Itoa(60 * (1 + s.IntN(1e6)))
	case "hours":
		return strconv.Itoa(3600 * (1 + s.IntN(1e5)))
	case "day":
		return s.instant().Truncate(24 * time.Hour).Format(time.RFC3339)
	case "instant":
		return s.instant().Format(time.RFC3339)
	case "hex":
		return hex.EncodeToString([]byte(s.letters(tameLetters, 16+s.IntN(32))))
	case "base64":
		return base64.StdEncoding.EncodeToString([]byte(s.letters(tameLetters, 16+s.IntN(32))))
	case "cookies":
		pairs := []string{}
		for i := range 1 + s.IntN(3) {
			pairs = append(pairs, fmt.Sprintf("C%d%s=%s", i, s.letters(tameLetters, s.IntN(4)), s.letters(tameLetters, 1+s.IntN(40))))
		}
		if hostile {
			pairs = append(pairs, s.hostile())
		}
		return strings.Join(pairs, "; ")
	case "words":
		words := []string{}
		for range 1 + s.IntN(3) {
			if w := s.letters(strings.NewReplacer(",", "", ";", "").Replace(wordLetters), 1+s.IntN(12)); !slices.Contains(words, w) {
				words = append(words, w)
			}
		}
		return strings.Join(words, " ")
	}
	if hostile {
		return s.hostile()
	}
	return s.letters(tameLetters, 4+s.IntN(40))
}

// instant draws a whole second of this century.
func (s *source) instant() time.Time { return time.Unix(946684800+s.Int64N(3e9), 0).UTC() }

// other draws a value that differs from one.
func (s *source) other(name, than string) (string, bool) {
	if pair, ok := Keys(s.kinds[name]); ok {
		return pair[1], true
	}
	for range 8 {
		if v := s.value(name, false); v != than {
			return v, true
		}
	}
	return "", false // it has no choice
}

// vars draws a value for each name. A third of the rounds has none that is
// hostile, a third one, a third any number; what may be absent sometimes is.
func (s *source) vars(names []string, round int) jeton.Vars {
	vars := jeton.Vars{}
	if len(names) == 0 {
		return vars
	}
	one := s.IntN(len(names))
	for i, name := range names {
		if s.absent(name) && s.IntN(2) == 0 {
			continue
		}
		vars[name] = s.value(name, round%3 == 2 && s.IntN(2) == 0 || round%3 == 1 && i == one)
	}
	return vars
}

// absent reports whether a variable may be absent.
func (s *source) absent(name string) bool {
	for _, v := range s.d.Vars {
		if v.Name == name {
			return v.Optional
		}
	}
	return name == "scope" || name == "resource"
}
