package graphql

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"

	"github.com/jetonhq/jeton/strictjson"
)

// An envelope is what a call says about one document. All but the operation is
// JSON as it was written.
type envelope struct {
	query      string // with its quotes; empty: none
	operation  string // without; empty: none
	variables  string // empty: none
	extensions string // likewise
	hash       string // of extensions.persistedQuery, which is taken out; empty: none
}

// envelopes takes a body apart. Nothing is judged yet.
func (p *Policy) envelopes(body string) (list []judged, batch bool, err error) {
	r := &jsonReader{s: body}
	one := func() error {
		if len(list) == p.max.batch {
			return errors.New("the batch has too many operations")
		}
		list = append(list, judged{})
		return list[len(list)-1].said.read(r)
	}
	if batch = r.space() == '['; batch {
		err = r.list(one)
	} else {
		err = one()
	}
	if err == nil {
		err = r.end()
	}
	if err == nil && len(list) == 0 {
		err = errors.New("the batch is empty")
	}
	return list, batch, err
}

// read reads one object. Members that are not GraphQL's are left out of what
// goes on; one that differs from them in case only is refused.
func (e *envelope) read(r *jsonReader) error {
	if r.space() != '{' {
		return errors.New("the body is not an object with a query")
	}
	return r.object(1, func(key string) error {
		r.space()
		start := r.i
		if key == `"query"` && r.i < len(r.s) && r.s[r.i] == '"' {
			err := r.skip() // is read when it is judged, or was
			e.query = r.s[start:r.i]
			return err
		}
		value, err := r.value(2)
		switch {
		case err != nil:
			return err
		case key == `"query"`, key == `"operationName"`, key == `"variables"`, key == `"extensions"`:
			if value == "null" {
				return nil
			}
		case strings.Contains(key, `\`), strings.EqualFold(key, `"query"`), strings.EqualFold(key, `"operationName"`),
			strings.EqualFold(key, `"variables"`), strings.EqualFold(key, `"extensions"`):
			return errors.New("a member of the body could be taken for another one")
		default:
			return nil
		}
		switch key {
		case `"query"`:
			return errors.New("the query is not a string")
		case `"operationName"`:
			e.operation = strings.Trim(value, `"`)
			if value[0] != '"' || e.operation != "" && !isName(e.operation) {
				return errors.New("operationName is not a name")
			}
		case `"variables"`:
			e.variables = value
		case `"extensions"`:
			e.extensions = value
		}
		return nil
	})
}

// append appends what goes on of an envelope.
func (e *envelope) append(b []byte, j *judgement) []byte {
	b = append(b, `{"query":`...)
	b = append(b, j.query...)
	if e.operation != "" {
		b = append(append(append(b, `,"operationName":"`...), e.operation...), '"')
	}
	if e.variables != "" {
		b = append(append(b, `,"variables":`...), e.variables...)
	}
	if e.extensions != "" {
		b = append(append(b, `,"extensions":`...), e.extensions...)
	}
	return append(b, '}')
}

// takeHash moves the hash of a persisted document out of the extensions: what
// goes on has the document itself.
func (e *envelope) takeHash() error {
	if e.extensions == "" {
		return nil
	}
	if e.extensions[0] != '{' {
		return badRequest("extensions are not an object")
	}
	if !namesHash(e.extensions) {
		return nil
	}
	extensions, err := strictjson.Object([]byte(e.extensions))
	if err != nil {
		return badRequest("extensions: " + err.Error())
	}
	for name, value := range extensions {
		if !strings.EqualFold(name, "persistedQuery") {
			continue
		}
		persisted, _ := value.(map[string]any)
		hash, _ := persisted["sha256Hash"].(string)
		if name != "persistedQuery" || persisted["version"] != json.Number("1") || hash == "" {
			return badRequest("the extension persistedQuery is not of version 1")
		}
		e.hash = hash
		delete(extensions, name)
	}
	e.extensions = ""
	if len(extensions) > 0 {
		rest, err := json.Marshal(extensions)
		if err != nil {
			return badRequest("extensions: " + err.Error())
		}
		e.extensions = string(rest)
	}
	return nil
}

// namesHash reports whether an object, which is good JSON, has a member that is
// or could be taken for persistedQuery.
func namesHash(object string) (found bool) {
	r := &jsonReader{s: object}
	_ = r.object(1, func(key string) error {
		found = found || strings.Contains(key, `\`) || strings.EqualFold(key, `"persistedQuery"`)
		_, err := r.value(2)
		return err
	})
	return found
}

// persisted finds the document of a hash, or holds one that is there against it.
func (p *Policy) persisted(e *envelope) error {
	switch {
	case e.query == "" && e.hash == "" || e.query == `""`:
		return badRequest("the call has no query")
	case e.hash == "":
	case e.query != "":
		source, _ := unquote(e.query)
		if sum := sha256.Sum256([]byte(source)); e.hash != hex.EncodeToString(sum[:]) {
			return badRequest("the hash is not that of the query")
		}
	default:
		if source, ok := p.Persisted[e.hash]; ok {
			e.query = string(appendJSON(nil, source))
		} else if e.query, ok = p.named.get(e.hash, maxNamed); !ok {
			return &Error{Code: NotPersisted, Message: "PersistedQueryNotFound"}
		}
	}
	return nil
}
