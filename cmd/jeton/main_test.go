package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jetonhq/jeton/store/storetest"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the scripts run this very program as jeton. The race detector
// would have each such program sleep for a second when it ends.
func TestMain(m *testing.M) {
	if err := os.Setenv("GORACE", noSleep); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){"jeton": main})
}

const noSleep = "atexit_sleep_ms=0"

// TestScripts runs testdata/*.txtar, each of which starts the whole program and
// reads like a bug report. Each script has addresses of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("JETON_CONFIG", "")
			env.Setenv("GORACE", noSleep)
			for _, name := range []string{"ISSUER", "GUARD", "BROKER"} {
				addr, err := storetest.FreeAddr()
				if err != nil {
					return err
				}
				env.Setenv(name, addr)
			}
			return nil
		},
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exitcode":  exitcode,
			"expand":    expand,
			"listening": listening,
			"answers":   answers,
			"logged":    logged,
			"setfile":   setFile,
			"login":     login,
			"field":     setField,
		},
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
	})
}

// exitcode runs a command that must end with a certain code: exitcode 2 jeton.
func exitcode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode CODE PROGRAM ARGS...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = strconv.Itoa(exit.ExitCode())
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// expand replaces $NAME in files by the variables of the script.
func expand(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}

// listening waits until a server answers at an address.
func listening(ts *testscript.TestScript, _ bool, args []string) {
	path, unix := strings.CutPrefix(args[0], "unix:")
	at := address{text: args[0]}
	if unix {
		at.text = "unix:" + ts.MkAbs(path)
	}
	client, base := at.client()
	if !eventually(func() bool {
		answer, err := client.Get(base + "/healthz")
		if err == nil {
			_ = answer.Body.Close()
		}
		return err == nil
	}) {
		ts.Fatalf("nobody answers on %s", args[0])
	}
}

// eventually reports whether something comes to be within a minute, which is
// long also on a machine that has much else to do.
func eventually(is func() bool) bool {
	for range 6000 {
		if is() {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

// answers waits until a server answers a form with a status: answers STATUS URL FORM.
func answers(ts *testscript.TestScript, _ bool, args []string) {
	form, err := url.ParseQuery(args[2])
	ts.Check(err)
	status := ""
	if !eventually(func() bool {
		answer, err := http.PostForm(args[1], form)
		ts.Check(err)
		_ = answer.Body.Close()
		status = strconv.Itoa(answer.StatusCode)
		return status == args[0]
	}) {
		ts.Fatalf("the status is %s, want %s", status, args[0])
	}
}

// logged waits until a file has a line that matches: logged FILE REGEXP.
func logged(ts *testscript.TestScript, _ bool, args []string) {
	line, err := regexp.Compile(args[1])
	ts.Check(err)
	if !eventually(func() bool { return line.MatchString(ts.ReadFile(args[0])) }) {
		ts.Fatalf("no line of %s matches %s:\n%s", args[0], args[1], ts.ReadFile(args[0]))
	}
}

// setFile sets a variable to the line in a file: setfile NAME FILE.
func setFile(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

// login sends a client_credentials login with the client that `jeton client
// add --json` printed into a file: login PATH FILE. The answer goes to stdout.
func login(ts *testscript.TestScript, _ bool, args []string) {
	var client struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &client))
	answer, err := http.PostForm("http://"+ts.Getenv("ISSUER")+"/"+args[0], url.Values{
		"grant_type": {"client_credentials"}, "client_id": {client.ID}, "client_secret": {client.Secret}})
	ts.Check(err)
	defer func() { _ = answer.Body.Close() }()
	_, err = io.Copy(ts.Stdout(), answer.Body)
	ts.Check(err)
}

// setField sets a variable to a field of a file with JSON: field NAME FILE FIELD.
func setField(ts *testscript.TestScript, _ bool, args []string) {
	var fields map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &fields))
	text, ok := fields[args[2]].(string)
	if !ok {
		ts.Fatalf("%s has no text %s", args[1], args[2])
	}
	ts.Setenv(args[0], text)
}
