// Package jws reads signed JSON Web Tokens in compact form (RFC 7515, 7519) in
// the one textual form that they have here, and checks their signatures. Which
// key counts, and what the claims say, is the caller's to judge; keys and
// addresses in a header are never looked at.
package jws

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strings"

	"github.com/jetonhq/jeton/strictjson"
)

// MaxSize bounds a token in bytes; what is longer is not looked at.
const MaxSize = 8 << 10

// A Header is what a token says about its signature, before anybody has looked
// at that. What is not there is empty.
type Header struct {
	Alg, KeyID, Type string
}

// A Token has the right form. Its signature is still to be checked.
type Token struct {
	Header

	signed    string // header and payload as they were signed
	payload   []byte
	signature []byte
}

// Parse takes a token apart: three parts that are not empty, each in canonical
// base64, with a header that is strict JSON and asks for no extension.
func Parse(text string) (*Token, bool) {
	first, last := strings.IndexByte(text, '.'), strings.LastIndexByte(text, '.')
	if len(text) > MaxSize || first < 0 || first == last || strings.IndexByte(text[first+1:last], '.') >= 0 {
		return nil, false
	}
	t := &Token{signed: text[:last]}
	header, ok1 := decode(text[:first])
	payload, ok2 := decode(text[first+1 : last])
	signature, ok3 := decode(text[last+1:])
	if !ok1 || !ok2 || !ok3 {
		return nil, false
	}
	t.payload, t.signature = payload, signature
	var ok bool
	t.Header, ok = parseHeader(header)
	return t, ok
}

// decode reads canonical base64 only: unused bits are zero, and there are no
// line breaks, which the decoder passes over.
func decode(part string) ([]byte, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(part)
	return b, err == nil && len(b) > 0 && !strings.ContainsAny(part, "\r\n")
}

func parseHeader(b []byte) (Header, bool) {
	object, err := strictjson.Object(b)
	if err != nil {
		return Header{}, false
	}
	var h Header
	for name, field := range map[string]*string{"alg": &h.Alg, "kid": &h.KeyID, "typ": &h.Type} {
		value, there := object[name]
		text, ok := value.(string)
		if there && !ok {
			return Header{}, false
		}
		*field = text
	}
	_, critical := object["crit"] // RFC 7515 section 4.1.11
	_, unencoded := object["b64"] // RFC 7797
	return h, !critical && !unencoded
}

// Claims returns the payload of a token whose signature was found good. It is
// strict JSON, an object, and its times are numbers within reason.
func (t *Token) Claims() (map[string]any, bool) {
	claims, err := strictjson.Object(t.payload)
	return claims, err == nil && saneTimes(claims)
}

// saneTimes refuses times that are no numbers or lie beyond any calendar
// (RFC 7519 section 2, NumericDate).
func saneTimes(claims map[string]any) bool {
	for _, name := range [...]string{"exp", "nbf", "iat"} {
		v, there := claims[name]
		if !there {
			continue
		}
		n, ok := v.(json.Number)
		if !ok {
			return false
		}
		f, err := n.Float64()
		if err != nil || math.IsInf(f, 0) || f < 0 || f > 1<<40 {
			return false
		}
	}
	return true
}
