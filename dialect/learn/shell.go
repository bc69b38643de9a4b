package learn

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// A command is one curl command line of a page, split as a shell would.
type command struct {
	words []string
	stdin string // what a << or <<< gives it to read
	line  int    // of the paste, from 1
	end   int    // offset of what follows it
}

// A shell variable that the page does not put in single quotes stands in a word
// between these two, so that it is known from a dollar sign that is meant.
const (
	varOpen  = '\uE000'
	varClose = '\uE001'
)

// tidy undoes what web pages, word processors and Windows do to a text.
func tidy(text string) string {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u00a0", " ", "\u200b", "", "\ufeff", "",
		string(varOpen), "", string(varClose), "",
		"\u201c", `"`, "\u201d", `"`, "\u201e", `"`, "\u2018", "'", "\u2019", "'", "\u2032", "'", "\u2033", `"`,
		"&quot;", `"`, "&#34;", `"`, "&#39;", "'", "&apos;", "'", "&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(text)
	if caret.MatchString(text) {
		text = caretEscape.ReplaceAllStringFunc(text, func(escape string) string {
			if escape[1] == '\n' || escape[1] == ' ' {
				return " "
			}
			return escape[1:]
		})
	}
	return text
}

var (
	caret       = regexp.MustCompile(`\^[ \t]*\n|\^"`) // cmd.exe: at the end of a line, or as "copy as cURL (cmd)" writes quotes
	caretEscape = regexp.MustCompile(`\^(?:[ \t]*\n|[^\n])`)

	prompt     = `(?:[$>#%][ \t]+|PS[^>\n]*>[ \t]*|[A-Za-z]:\\[^>\n]*>[ \t]*|(?:export[ \t]+)?\w+=["']?[$]\(|sudo[ \t]+|time[ \t]+|[-*][ \t]+|\x60+)`
	curlAtLine = regexp.MustCompile(`(?m)^[ \t]*` + prompt + `*curl(?:\.exe)?[ \t\\\n` + "`" + `]`)
	curlInLine = regexp.MustCompile(`(?:^|[\s:\x60(])curl(?:\.exe)?[ \t\\]+[-'"h$]`)

	optionLine   = regexp.MustCompile(`^[ \t]*(?:--?[A-Za-z]|[–—]-?[A-Za-z])`)
	urlLine      = regexp.MustCompile(`^[ \t]*["']?https?://`)
	continuation = regexp.MustCompile(`^\\{1,3}[ \t]*\n[ \t]*`)
	collapsed    = regexp.MustCompile(`^\\[ \t]+(?:-|["']?https?://)`) // the page lost the end of the line
	angle        = regexp.MustCompile(`^<[A-Za-z][^<>\n"']{0,60}>`)
	braces       = regexp.MustCompile(`^\{\{?[ ]?[A-Za-z][^{}:\n"']{0,60}\}?\}`)
	variable     = regexp.MustCompile(`^(?:\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_.-]*)(?::[^}\n]*)?\}|\$(?:env:)?([A-Za-z_][A-Za-z0-9_]*))`) // but for its default
	echoed       = regexp.MustCompile(`(?:echo|printf)\s+(?:-n[e]?\s+)?(?:'%s'\s+|"%s"\s+)?["']?([^"'|\n]+?)["']?\s*\|\s*(?:openssl\s+)?base64`)

	hereMark = regexp.MustCompile(`^<<-?[ \t]*(?:'([^'\n]+)'|"([^"\n]+)"|\\?([A-Za-z0-9_]+))`)
	catHere  = regexp.MustCompile(`^\$\([ \t]*cat[ \t]*<<`)
)

const maxCommands = 64

// commands finds the curl commands of a tidy text.
func commands(text string) ([]command, error) {
	var list []command
	for at := 0; at < len(text); {
		found := curlAtLine.FindStringIndex(text[at:])
		if found == nil && len(list) == 0 {
			found = curlInLine.FindStringIndex(text[at:])
		}
		if found == nil {
			break
		}
		if len(list) == maxCommands {
			return nil, fmt.Errorf("the paste has more than %d curl commands: keep the login, a call and the refresh", maxCommands)
		}
		start := at + found[0] + strings.Index(text[at+found[0]:at+found[1]], "curl") + len("curl")
		start += len(text[start:]) - len(strings.TrimPrefix(text[start:], ".exe"))
		c := command{line: 1 + strings.Count(text[:start], "\n")}
		s := scanner{text: text, at: start}
		if err := s.scan(); err != nil {
			return nil, fmt.Errorf("line %d: %w", 1+strings.Count(text[:s.at], "\n"), err)
		}
		c.words, c.stdin, c.end = s.words, s.stdin, s.at
		list, at = append(list, c), max(s.at, start)
	}
	return list, nil
}

// A scanner splits one command into words.
type scanner struct {
	text  string
	at    int
	words []string

	word   strings.Builder
	inWord bool
	skip   bool // the next word is where output goes
	done   bool

	here  string // the line that ends the text behind a <<
	reads bool   // the next word is behind a <<<
	stdin string // that text, or that word
}

func (s *scanner) rest() string { return s.text[s.at:] }

func (s *scanner) take(text string) {
	s.word.WriteString(text)
	s.inWord = true
}

func (s *scanner) finish() {
	switch {
	case !s.inWord:
	case s.reads:
		s.stdin, s.reads = s.word.String(), false
	case !s.skip:
		s.words = append(s.words, s.word.String())
	}
	s.skip = s.skip && !s.inWord
	s.word.Reset()
	s.inWord = false
}

func (s *scanner) scan() error {
	for s.at < len(s.text) && !s.done {
		if err := s.step(); err != nil {
			return err
		}
	}
	s.finish()
	return nil
}

func (s *scanner) step() error {
	rest := s.rest()
	switch c := rest[0]; c {
	case ' ', '\t':
		s.finish()
	case '\n':
		s.finish()
		if s.here != "" {
			return s.hereText(rest[1:])
		}
		next := strings.TrimLeft(rest, "\n")
		goesOn := len(rest)-len(next) == 1 && optionLine.MatchString(next) || urlLine.MatchString(next) && !s.hasURL()
		if !goesOn {
			s.done = true
			return nil
		}
	case '\\':
		return s.backslash(rest)
	case '\'':
		return s.single(rest[1:])
	case '"':
		s.at++
		return s.double()
	case '$':
		return s.dollar(rest)
	case '`':
		if line, _, ok := strings.Cut(rest[1:], "\n"); ok && strings.TrimSpace(line) == "" && !s.inWord {
			s.at += len(line) + 2 // PowerShell goes on in the next line
			return nil
		}
		s.done = true
		return nil
	case '|', ';', ')', '&':
		return s.operator(rest)
	case '<', '{':
		return s.bracket(rest)
	case '>':
		if digits := s.word.String(); !s.inWord || digits == "1" || digits == "2" {
			s.word.Reset()
			s.inWord, s.skip = false, true
			s.at += len(rest) - len(strings.TrimLeft(rest, ">&"))
			return nil
		}
		s.take(">")
	case '#':
		if !s.inWord {
			s.at += len(rest) - len(strings.TrimLeftFunc(rest, func(r rune) bool { return r != '\n' }))
			return nil
		}
		s.take("#")
	default:
		s.take(rest[:1])
	}
	s.at++
	return nil
}

// hereText reads what stands from the next line on for a <<.
func (s *scanner) hereText(lines string) error {
	body, after, ok := hereDocument(lines, s.here)
	if !ok {
		return fmt.Errorf("the text behind << has no end")
	}
	s.stdin, s.at, s.done = body, len(s.text)-len(after), true
	return nil
}

// hereDocument cuts lines at the one that has the word alone.
func hereDocument(lines, word string) (body, after string, ok bool) {
	for rest := lines; rest != ""; {
		line, next, _ := strings.Cut(rest, "\n")
		if strings.TrimSpace(line) == word {
			return lines[:len(lines)-len(rest)], next, true
		}
		rest = next
	}
	return "", "", false
}

// hereWord returns the word that ends the text for the << that rest begins with.
func hereWord(rest string) (word string, size int) {
	m := hereMark.FindStringSubmatch(rest)
	if m == nil || strings.HasPrefix(rest[len(m[0]):], ">") { // <<a placeholder>>
		return "", 0
	}
	return m[1] + m[2] + m[3], len(m[0])
}

// printed returns the text of $(cat <<EOF ... ), and where it ends.
func printed(rest string) (body string, size int, ok bool) {
	m := catHere.FindString(rest)
	if m == "" {
		return "", 0, false
	}
	word, _ := hereWord(rest[len(m)-len("<<"):])
	_, lines, _ := strings.Cut(rest, "\n")
	body, after, ok := hereDocument(lines, word)
	after = strings.TrimLeft(after, " \t\n")
	if !ok || word == "" || !strings.HasPrefix(after, ")") {
		return "", 0, false
	}
	return strings.TrimRight(body, "\n"), len(rest) - len(after) + 1, true
}

func (s *scanner) hasURL() bool {
	for _, w := range s.words {
		if strings.Contains(w, "://") {
			return true
		}
	}
	return false
}

func (s *scanner) backslash(rest string) error {
	switch m := continuation.FindString(rest); {
	case m != "":
		s.finish()
		s.at += len(m)
		if strings.HasPrefix(s.rest(), "\n") { // an empty line ends it all the same
			s.done = true
		}
		return nil
	case collapsed.MatchString(rest):
		s.finish()
		s.at++
		return nil
	case len(rest) == 1 || strings.TrimSpace(rest[1:]) == "":
		s.finish()
		s.at = len(s.text)
		return nil
	}
	_, size := firstRune(rest[1:])
	s.take(rest[1 : 1+size])
	s.at += 1 + size
	return nil
}

func firstRune(s string) (rune, int) {
	for _, r := range s {
		return r, len(string(r))
	}
	return 0, 0
}

func (s *scanner) single(rest string) error {
	end := strings.IndexByte(rest, '\'')
	if end < 0 {
		return fmt.Errorf("a single quote is not closed")
	}
	s.take(rest[:end])
	s.at += end + 2
	return nil
}

// double reads on after a double quote.
func (s *scanner) double() error {
	opened := s.at
	s.take("")
	for s.at < len(s.text) {
		rest := s.rest()
		switch rest[0] {
		case '"':
			s.at++
			return nil
		case '\\':
			if len(rest) > 1 && strings.IndexByte("\"\\$`", rest[1]) >= 0 {
				s.take(rest[1:2])
				s.at += 2
				continue
			}
			if len(rest) > 1 && rest[1] == '\n' {
				s.at += 2
				continue
			}
		case '$':
			if err := s.dollar(rest); err != nil {
				return err
			}
			continue
		}
		s.take(rest[:1])
		s.at++
	}
	s.at = opened // where the mistake is
	return fmt.Errorf("a double quote is not closed")
}

// dollar reads a variable, a command or an ANSI quote.
func (s *scanner) dollar(rest string) error {
	if m := variable.FindStringSubmatch(rest); m != nil {
		s.take(string(varOpen) + m[1] + m[2] + string(varClose))
		s.at += len(m[0])
		return nil
	}
	switch {
	case strings.HasPrefix(rest, "$("):
		if body, size, ok := printed(rest); ok {
			s.take(body)
			s.at += size
			return nil
		}
		end := closing(rest)
		if end < 0 {
			return fmt.Errorf("$( is not closed")
		}
		s.take(string(varOpen) + substituted(rest[2:end]) + string(varClose))
		s.at += end + 1
		return nil
	case strings.HasPrefix(rest, "$'") && !s.inWord:
		return s.ansi(rest[2:])
	}
	s.take("$")
	s.at++
	return nil
}

// closing returns the offset of the parenthesis that closes the first one.
func closing(text string) int {
	depth := 0
	for i, c := range []byte(text) {
		switch c {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// substituted names what a command in $( ) prints.
func substituted(inner string) string {
	if m := echoed.FindStringSubmatch(inner); m != nil {
		return "base64 " + m[1]
	}
	return "value"
}

// ansi reads $'...' after its quote.
func (s *scanner) ansi(rest string) error {
	s.take("")
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '\'':
			s.at += 2 + i + 1
			return nil
		case c == '\\' && i+1 < len(rest):
			text, size := ansiEscape(rest[i+1:])
			s.take(text)
			i += size
		default:
			s.take(rest[i : i+1])
		}
	}
	return fmt.Errorf("$' is not closed")
}

func ansiEscape(rest string) (text string, size int) {
	if i := strings.IndexByte("nrtabefv\\'\"?", rest[0]); i >= 0 {
		return "\n\r\t\a\b\x1b\f\v\\'\"?"[i : i+1], 1
	}
	most := map[byte]int{'u': 4, 'U': 8, 'x': 2}[rest[0]]
	n, code := 0, rune(0)
	for n < most && 1+n < len(rest) {
		d := strings.IndexByte("0123456789abcdef", rest[1+n]|0x20)
		if d < 0 {
			break
		}
		code = code<<4 | rune(d)
		n++
	}
	if n == 0 || code == 0 || code == varOpen || code == varClose || code > unicode.MaxRune {
		return `\`, 0
	}
	return string(code), 1 + n
}

// operator reads what ends a command, unless it stands inside a word: pages
// forget to quote URLs.
func (s *scanner) operator(rest string) error {
	next := byte('\n')
	if len(rest) > 1 {
		next = rest[1]
	}
	inside := s.inWord && next != ' ' && next != '\n' && next != rest[0]
	switch {
	case rest[0] == ')' && strings.Contains(s.word.String(), "("), inside && rest[0] != ')':
		s.take(rest[:1])
		s.at++
		return nil
	}
	s.done = s.here == ""
	s.at += len(rest) - len(strings.TrimLeftFunc(rest, func(r rune) bool { return r != '\n' }))
	return nil
}

// bracket reads <a placeholder> or {one}, which pages leave without quotes.
func (s *scanner) bracket(rest string) error {
	word, size := hereWord(rest)
	m := angle.FindString(rest)
	if rest[0] == '{' {
		m = braces.FindString(rest)
	}
	switch {
	case m != "":
		s.take(m)
		s.at += len(m)
	case strings.HasPrefix(rest, "<<<") && !s.inWord:
		s.reads = true
		s.at += len("<<<")
	case word != "" && !s.inWord:
		s.here = word
		s.at += size
	case rest[0] == '<' && !s.inWord:
		s.skip = true
		s.at++
	default:
		s.take(rest[:1])
		s.at++
	}
	return nil
}
