package learn

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// canonical are the variables with a meaning, by what pages call them: letters
// only, lower case.
var canonical = map[string]string{
	"clientid": "client_id", "oauthclientid": "client_id", "clientidentifier": "client_id",
	"clientsecret": "client_secret", "oauthclientsecret": "client_secret", "clientsecretkey": "client_secret",
	"username": "username", "user": "username", "useremail": "username", "email": "username", "emailaddress": "username",
	"login": "username", "loginname": "username", "userlogin": "username", "loginid": "username", "emailid": "username",
	"password": "password", "passwd": "password", "pass": "password", "pwd": "password", "userpassword": "password",
	"passphrase": "password", "loginpassword": "password",
	"apikey": "api_key", "xapikey": "api_key", "key": "api_key", "apikeyvalue": "api_key",
	"tenantid": "tenant_id", "tenant": "tenant_id", "xtenantid": "tenant_id", "directoryid": "tenant_id", "directorytenantid": "tenant_id",
	"userid":       "user_id",
	"accesstoken":  "access_token",
	"refreshtoken": "refresh_token", "xrefreshtoken": "refresh_token",
	"tokentype": "token_type",
	"scope":     "scope", "scopes": "scope",
	"resource": "resource",
}

var (
	hump      = regexp.MustCompile(`([a-z0-9])([A-Z])|([A-Z])([A-Z][a-z])`)
	notSnake  = regexp.MustCompile(`[^a-z0-9]+`)
	noise     = regexp.MustCompile(`^(?:(?:your|my|the|a|an|insert|enter|replace|with|put|paste|here|value|of|from|goes|example|sample|placeholder|actual|generated|received|valid|base64|encoded|copied|obtained|previous|this|that|is|in|assigned|issued|account_specific|env|string|prefix|required|optional|url_encoded|unique)(?:_|$))`)
	noiseTail = regexp.MustCompile(`_(?:here|value|placeholder|string|goes_here|example)$`)
	glued     = regexp.MustCompile(`^(?:your|my)([a-z])`)
)

// snake writes a name as variables are written.
func snake(name string) string {
	name = hump.ReplaceAllString(name, "${1}${3}_${2}${4}")
	return strings.Trim(notSnake.ReplaceAllString(strings.ToLower(name), "_"), "_")
}

func letters(name string) string { return strings.ReplaceAll(snake(name), "_", "") }

// variableName is the name of a hole for what a page calls name.
func variableName(name string) string {
	s := strings.TrimPrefix(strings.TrimPrefix(snake(name), "x_"), "ocp_apim_")
	if known, ok := canonical[strings.ReplaceAll(s, "_", "")]; ok {
		return known
	}
	s = strings.TrimLeft(s, "0123456789_")
	if s == "" || revealing(s) || len(s) > 40 {
		return "value"
	}
	return s
}

// placeholderName names the hole for the words of a placeholder: YOUR_API_KEY
// is api_key.
func placeholderName(words string) string {
	if len(words) > 200 {
		return "value" // nobody names a value so
	}
	s := snake(words)
	for before := ""; before != s; {
		before = s
		s = noise.ReplaceAllString(s, "")
		s = noiseTail.ReplaceAllString(s, "")
	}
	s = glued.ReplaceAllString(s, "$1")
	for _, tail := range []string{"_here", "here"} {
		if cut := strings.TrimSuffix(s, tail); cut != "" {
			s = cut
		}
	}
	for _, tail := range []string{"api_key", "client_id", "client_secret", "access_token", "password"} {
		if strings.HasSuffix(s, "_"+tail) {
			return tail
		}
	}
	return variableName(s)
}

var (
	// marked finds placeholders that have a mark of their own, anywhere.
	marked = regexp.MustCompile(`\x{E000}([^\x{E001}]*)\x{E001}|\$\{([A-Za-z_][A-Za-z0-9_.]*)\}|\$([A-Z][A-Z0-9_]+)|\{\{ ?([^{}]+?) ?\}\}|\{([A-Za-z][A-Za-z0-9_ .|/-]{0,60})\}|<([A-Za-z@][^<>"]{0,60})>|%([A-Z][A-Z0-9_]{2,})%|\[([A-Za-z][A-Za-z0-9_ @.\x{a0}-]{2,60})\]|__([A-Za-z][A-Za-z_]+)__`)

	percentHole = regexp.MustCompile(`^%[A-Za-z][A-Za-z0-9_]{2,}%$`)
	upperSnake  = regexp.MustCompile(`^[A-Z][A-Z0-9]*(?:[_-][A-Z0-9]+)+$`)
	talks       = regexp.MustCompile(`(?i)^(?:your|my|insert|enter|replace|put|paste)(?:[ _.-]|[A-Z]|apikey|client|token|user|pass|secret|email|domain)|(?:[ _-]|^)here$|^example|placeholder|^sample[-_ ]`)
	crossed     = regexp.MustCompile(`^(?:[xX*.…•_-]{3,}|[xX]+(?:-[xX]+)+)$`)
)

// maxValue is longer than any value that a page shows with placeholders in it.
const maxValue = 4096

// holesIn returns where the marked placeholders of a text stand.
func holesIn(s string) [][]int {
	var list [][]int
	if len(s) > maxValue {
		return nil
	}
	for _, m := range marked.FindAllStringSubmatchIndex(s, 33) {
		list = append(list, m[:2])
	}
	return list
}

func placeholderless(s string) string { return marked.ReplaceAllString(s, "") }

// holeWords returns the words of a marked placeholder.
func holeWords(s string) string {
	for _, inner := range marked.FindStringSubmatch(s)[1:] {
		if inner != "" {
			return inner
		}
	}
	return ""
}

// placeholder reports whether a whole text stands for a value rather than
// being one, and what the value is called; the name is "" if it does not say.
func placeholder(s string) (name string, ok bool) {
	if len(s) > 200 {
		return "", false
	}
	if m := holesIn(s); len(m) == 1 && m[0][0] == 0 && m[0][1] == len(s) {
		name := placeholderName(holeWords(s))
		if !familiar(name) || name == "value" || strings.HasPrefix(name, "base64") {
			name = "" // a secret can stand in braces too
		}
		return name, true
	}
	if len(holesIn(s)) > 0 {
		return "", false
	}
	switch plain := snake(s); {
	case crossed.MatchString(s) || s == "string":
		return "", true
	case revealing(s):
	case canonical[strings.ReplaceAll(plain, "_", "")] != "" && len(plain) >= 3:
		return placeholderName(s), true
	case familiar(plain) && (upperSnake.MatchString(s) || talks.MatchString(s) || secretName(plain) && !strings.Contains(s, " ")):
		return placeholderName(s), true
	case upperSnake.MatchString(s) && strings.Contains(s, "_"), talks.MatchString(s):
		return "", true // its words could be a secret's
	}
	return "", false
}

var vocabulary = strings.Fields(`access account admin api apikey app application assertion auth authorization base64 basic bearer client code company
consumer credential credentials customer domain email encoded enter env example from goes grant here host id identifier insert instance
integration jwt key login merchant my name oauth oauth2 of org organization organisation partner pass passphrase password paste personal
private project public put region replace resource scope secret session shop signed site store subdomain subscription tenant the token
url user username userid value vendor with workspace your clientid clientsecret yourapikey accesstoken userpassword useremail placeholder
refresh sample service address environment developer production sandbox test x`)

// familiar reports whether a name has only words that say what a value is. Any
// other could be a value: a password can look like a name.
func familiar(name string) bool {
	for word := range strings.SplitSeq(name, "_") {
		if !slices.Contains(vocabulary, word) {
			return false
		}
	}
	return true
}

var (
	secretWord = regexp.MustCompile(`(?:^|_)(?:secret|password|passwd|passphrase|pwd|pass|token|key|apikey|assertion|signature|sign|credential|credentials|pin|otp|code|jwt|saml|auth|authorization|cookie|session|sessionid|sid|ticket|hash|nonce|digest)(?:_|$)|(?:secret|password|token|apikey|assertion|signature|sessionid)$`)
	publicWord = regexp.MustCompile(`(?:^|_)(?:type|method|format|algorithm|alg|mode|version)$`)
)

// secretName reports whether a field of that name holds a secret, whatever it
// looks like.
func secretName(name string) bool {
	s := snake(name)
	return secretWord.MatchString(s) && !publicWord.MatchString(s)
}

var fixedNames = strings.Fields(`grant_type granttype grant response_type client_assertion_type subject_token_type requested_token_type
actor_token_type assertion_type auth_type authtype authentication_type auth_method auth_mode provider auth_provider identity_provider
realm_type login_type user_type account_type device_type type method action format output version api_version apiversion v
requested_token_use token_type token_format realm connection mode service language lang locale culture operation operation_name command cmd
platform channel source environment env product module function func class object jsonrpc event remember remember_me persistent
response_format responseformat result_format alg algorithm box_subject_type client_info prompt`)

// fixedName reports whether a field of that name has the same text for every
// account.
func fixedName(name string) bool { return slices.Contains(fixedNames, snake(name)) }

var (
	fixedText = regexp.MustCompile(`^[A-Za-z0-9_.:/+*-]+$`)
	// plainText matches words, small numbers, dates and versions.
	plainText = regexp.MustCompile(`^(?:-?\d{1,6}|v?\d{1,4}(?:[.-]\d{1,4}){0,3}|[A-Za-z]{1,24}(?:[ _./:;=,+*-]{1,2}[A-Za-z*]{1,24}){0,8}[.]?|\*)$`)
	plainURL  = regexp.MustCompile(`^https?://[A-Za-z0-9.-]+(?::\d+)?(?:/[A-Za-z0-9._~/-]*)?$`)
	jwtForm   = regexp.MustCompile(`^eyJ[A-Za-z0-9_-]+\.(?:[A-Za-z0-9_-]*|[.…]+)\.?[A-Za-z0-9_.…-]*`)
	uuidForm  = regexp.MustCompile(`^(?i:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$`)
)

// plain reports whether a text may stand in a file: words and small numbers.
func plain(s string) bool {
	return plainText.MatchString(s) && !revealing(s) || plainURL.MatchString(s) && !revealing(s) || s == ""
}

// revealing reports whether a part of the text could be a secret or an
// account's own number: letters mixed with digits as no word has them, or long.
func revealing(s string) bool {
	for _, part := range strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(":/._-= ,+&?;", r) }) {
		if random(part) {
			return true
		}
	}
	return uuidForm.MatchString(s) || jwtForm.MatchString(s)
}

// random looks at one word.
func random(s string) bool {
	switches, digits, cases := 0, 0, 0
	var last rune
	for i, c := range s {
		if unicode.IsDigit(c) {
			digits++
		}
		if i > 0 && unicode.IsDigit(c) != unicode.IsDigit(last) {
			switches++
		}
		if i > 0 && unicode.IsLower(c) && unicode.IsUpper(last) {
			cases++
		}
		last = c
	}
	switch n := len(s); {
	case n < 5:
		return false
	case digits == n:
		return n > 6
	case digits > 0 && switches >= 3, digits >= 4 && n >= 8:
		return true
	case n >= 16 && (digits > 0 || cases >= 4):
		return true
	}
	return len(s) > 32
}

// secretLooking reports whether a text found at a secret's place is a real one
// rather than a word that stands for it: then it must be nowhere in the output.
func secretLooking(s string) bool {
	if _, stands := placeholder(s); stands || len(s) < 6 {
		return false
	}
	return strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsLower(r) && r != '_' && r != '-' }) || len(s) >= 12
}
