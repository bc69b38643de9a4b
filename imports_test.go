package jeton_test

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

const module = "github.com/jetonhq/jeton"

// mayImport says for every package which others of this module its code may
// import; "." is package jeton. Arrows point down. The siblings issuer, guard
// and broker know nothing of one another and meet in jeton.Source and
// jeton.Verifier. A package that is not in the table does not belong here
// before somebody has decided what it may know.
var mayImport = map[string]string{ // :: folder -> folders
	".":                "",
	"yamlnode":         "",
	"strictjson":       "",
	"jws":              "strictjson",
	"store":            ".",
	"store/etcd":       ". store",
	"store/kubernetes": ". store",
	"store/postgres":   "store",
	"store/redis":      "store",
	"store/sqlite":     "store",
	"store/storetest":  ". store",
	"store/vault":      ". store vaultkv",
	"vaultkv":          ".",
	"vaultkv/kvfake":   "",
	"seal":             ". store",
	"sink":             ". store",
	"sink/aws":         ". sink",
	"sink/file":        ". sink",
	"sink/gcp":         ". sink",
	"sink/redis":       ". sink store store/redis",
	"sink/vault":       ". sink store store/vault vaultkv",
	"limit":            "",
	"audit":            "",
	"dialect":          ". dialect/sign strictjson yamlnode",
	"dialect/corpus":   ". dialect dialect/law",
	"dialect/law":      ". dialect dialect/sign",
	"dialect/learn":    ". dialect yamlnode",
	"dialect/sign":     "jws strictjson",
	"dialects":         "dialect yamlnode",
	"keys":             ". jws store strictjson",
	"directory":        ". audit store",
	"issuer":           ". audit dialect directory keys limit revocation store strictjson",
	"revocation":       ".",
	"verify":           ". jws revocation strictjson",
	"guard":            ". dialect guard/graphql revocation",
	"guard/graphql":    ". dialect strictjson",
	"guard/lint":       ".",
	"broker":           ". dialect sink store strictjson",
	"standin":          ". audit dialect dialect/sign directory guard issuer store",
	"client":           ".",
	"console":          ". audit dialect directory issuer store",
	"cmd/jeton":        ". audit broker client cmd/jeton/sample console dialect dialect/corpus dialect/law dialect/learn dialects directory guard guard/graphql guard/lint issuer keys limit revocation seal sink sink/aws sink/file sink/gcp sink/redis sink/vault standin store store/etcd store/kubernetes store/postgres store/redis store/sqlite store/vault verify yamlnode",
	"cmd/jeton/sample": ". guard",
}

// onlyIn says which packages may import the ones that reach outside. A name
// that ends in a slash stands for all below it.
var onlyIn = map[string]string{ // :: import path -> folders
	"database/sql":        "audit limit store/",
	"database/sql/driver": "audit limit store/",
	"modernc.org/sqlite":  "store/",
	"os":                  "cmd/ sink/file store/sqlite store/storetest",
	"os/exec":             "cmd/ store/storetest",
	"os/signal":           "cmd/",
	"flag":                "cmd/",
	"unsafe":              "",
	"testing":             "store/storetest",

	"github.com/spf13/cobra":              "cmd/",
	"github.com/goccy/go-yaml":            "cmd/ yamlnode",
	"github.com/go-jose/go-jose/v4":       "cmd/ keys dialect dialect/sign verify",
	"github.com/golang-jwt/jwt/v5":        "jws dialect/sign",
	"github.com/beevik/etree":             "dialect/sign",
	"github.com/russellhaering/goxmldsig": "dialect/sign",
	"github.com/graph-gophers/graphql-go": "cmd/jeton/sample",
	"github.com/vektah/gqlparser/v2":      "guard/graphql",
	"github.com/vektah/gqlparser/v2/ast":  "guard/graphql",

	"github.com/prometheus/client_golang/prometheus":          "broker cmd/",
	"github.com/prometheus/client_golang/prometheus/promhttp": "broker cmd/",
	"github.com/jackc/pgx/v5":                                 "store/postgres",
	"github.com/redis/rueidis":                                "sink/redis store/redis",
	"go.etcd.io/etcd/client/v3":                               "store/etcd",
	"google.golang.org/grpc":                                  "store/etcd",

	// The core knows how a span is made; where it goes is known in cmd/jeton.
	"go.opentelemetry.io/otel/attribute":                              "broker cmd/",
	"go.opentelemetry.io/otel/codes":                                  "broker",
	"go.opentelemetry.io/otel/propagation":                            "broker",
	"go.opentelemetry.io/otel/trace":                                  "broker",
	"go.opentelemetry.io/otel/sdk/resource":                           "cmd/",
	"go.opentelemetry.io/otel/sdk/trace":                              "cmd/",
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp": "cmd/",
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp":   "",
	"go.opentelemetry.io/otel":                                        "", // its providers are global
}

func TestImports(t *testing.T) {
	seen := map[string]bool{}
	for _, file := range goFiles(t) {
		if strings.HasSuffix(file.path, "_test.go") {
			continue
		}
		folder := path.Dir(file.path)
		seen[folder] = true
		allowed, known := mayImport[folder]
		if !known {
			t.Errorf("%s: package %s is not in the table of TestImports", file.path, folder)
			continue
		}
		for _, imported := range file.imports() {
			if outside, limited := onlyIn[imported]; limited && !matches(outside, folder) {
				t.Errorf("%s: imports %s, which only these may: %s", file.path, imported, outside)
			}
			inside, ok := insideModule(imported)
			switch {
			case ok && !slices.Contains(strings.Fields(allowed), inside):
				t.Errorf("%s: package %s may import %q of this module, not %s", file.path, folder, allowed, inside)
			case !ok && folder == "." && strings.Contains(imported, "."):
				t.Errorf("%s: package jeton imports the standard library only, not %s", file.path, imported)
			}
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d packages found: the test looks in the wrong place", len(seen))
	}
}

// TestImportTablePointsDown checks the table itself: a cycle, or an arrow
// between siblings, could be allowed there by mistake.
func TestImportTablePointsDown(t *testing.T) {
	for _, sibling := range []string{"issuer", "guard", "broker"} {
		for _, other := range []string{"issuer", "guard", "broker", "console", "cmd/jeton"} {
			if slices.Contains(strings.Fields(mayImport[sibling]), other) {
				t.Errorf("%s may import %s", sibling, other)
			}
		}
	}
	var visit func(folder string, above []string)
	visit = func(folder string, above []string) {
		if slices.Contains(above, folder) {
			t.Fatalf("cycle: %s", strings.Join(append(above, folder), " -> "))
		}
		for _, next := range strings.Fields(mayImport[folder]) {
			if _, ok := mayImport[next]; !ok {
				t.Errorf("%s may import %s, which is not in the table", folder, next)
			}
			visit(next, append(above[:len(above):len(above)], folder))
		}
	}
	for folder := range mayImport {
		visit(folder, nil)
	}
}

// TestHouseRules checks what a reader may rely on in every file.
func TestHouseRules(t *testing.T) {
	badNames := strings.Fields("util utils common helper helpers types mock mocks misc pkg base shared")
	for _, file := range goFiles(t) {
		if name := file.tree.Name.Name; slices.Contains(badNames, strings.TrimSuffix(name, "_test")) {
			t.Errorf("%s: a package named %s says nothing; name it after what it adapts", file.path, name)
		}
		ast.Inspect(file.tree, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, sel.Sel.Name) {
				t.Errorf("%s: a skipped test proves nothing; fail loudly", file.set.Position(call.Pos()))
			}
			return true
		})
	}
	later := []byte("TO" + "DO") // in two parts, lest it find itself
	walk(t, func(name string) {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if utf8.Valid(src) && bytes.Contains(src, later) {
			t.Errorf("%s: %s: do it, or open an issue", name, later)
		}
	})
	licence, err := os.ReadFile("LICENSE")
	if err != nil || !bytes.Contains(licence, []byte("Apache License")) {
		t.Errorf("LICENSE: %v", err)
	}
}

// A goFile is a parsed source file.
type goFile struct {
	path string // slashes, relative to the module
	set  *token.FileSet
	tree *ast.File
}

func (f goFile) imports() []string {
	var paths []string
	for _, spec := range f.tree.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

func goFiles(t *testing.T) []goFile {
	t.Helper()
	var files []goFile
	walk(t, func(name string) {
		if path.Ext(name) != ".go" {
			return
		}
		set := token.NewFileSet()
		tree, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, goFile{name, set, tree})
	})
	return files
}

// walk calls fn for every file of the project.
func walk(t *testing.T, fn func(name string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // a test beside this one cleaned up
			return nil
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules"):
			return filepath.SkipDir
		case d.IsDir() && name != "." && hasFile(name, "go.mod"): // a module of its own
			return filepath.SkipDir
		case d.Type().IsRegular():
			fn(filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func hasFile(folder, name string) bool {
	_, err := os.Stat(filepath.Join(folder, name))
	return err == nil
}

func insideModule(imported string) (folder string, ok bool) {
	if imported == module {
		return ".", true
	}
	return strings.CutPrefix(imported, module+"/")
}

// matches reports whether folder is in list, or below an entry of it that ends
// in a slash.
func matches(list, folder string) bool {
	return slices.ContainsFunc(strings.Fields(list), func(entry string) bool {
		return entry == folder || strings.HasSuffix(entry, "/") && strings.HasPrefix(folder, entry)
	})
}
