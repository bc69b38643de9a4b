package console

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/jetonhq/jeton"
)

// chromium starts a browser without a window. A machine that has none fails the
// test: a page that no browser has seen is not proved.
func chromium(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if path, err = exec.LookPath("chromium-browser"); err != nil {
			t.Fatal("no chromium on PATH; install it, for example: apt-get install chromium")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path),
		chromedp.Flag("headless", "new"), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("no-proxy-server", true),
		chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1100, 800))
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits for the process, so that its folder can go
		cancel()
	})
	return ctx
}

// check is what every page must hold, in the words of the browser.
const check = `(() => {
  const bad = [];
  if (document.querySelectorAll('h1').length !== 1) bad.push('not one h1');
  for (const landmark of ['main', 'header']) if (!document.querySelector(landmark)) bad.push('no ' + landmark);
  if (!document.documentElement.lang || !document.title) bad.push('no language or title');
  for (const x of document.querySelectorAll('input:not([type=hidden]), textarea, select')) if (!x.labels.length) bad.push('no label for ' + x.name);
  for (const x of document.querySelectorAll('a, button')) if (!x.textContent.trim()) bad.push('empty link or button');
  for (const x of document.querySelectorAll('nav')) if (!x.getAttribute('aria-label')) bad.push('nameless nav');
  if (document.querySelectorAll('script, [style], style').length) bad.push('script or inline style');
  if (document.documentElement.scrollWidth > innerWidth) bad.push('wider than the window: ' + document.documentElement.scrollWidth + ' > ' + innerWidth);
  const rgb = s => s.match(/[\d.]+/g).map(Number);
  const light = c => { const f = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; return .2126 * f(c[0]) + .7152 * f(c[1]) + .0722 * f(c[2]); };
  const back = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] === 1) return c; } return [255, 255, 255]; };
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const a = light(rgb(getComputedStyle(e).color)), b = light(back(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) bad.push('contrast ' + ratio.toFixed(2) + ' of ' + e.outerHTML.slice(0, 60));
  }
  return bad;
})()`

// looks checks the page that is open: wide and narrow, light and dark. Where
// JETON_PICTURES names a folder, it leaves pictures there for people to look at.
func looks(t *testing.T, name string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		// A heading can be there before the style sheet is.
		for loaded := false; !loaded; {
			var err error
			if loaded, err = chromedp.Run(ctx, chromedp.Evaluate[bool](`document.readyState === 'complete'`)); err != nil {
				return err
			}
			if !loaded {
				time.Sleep(10 * time.Millisecond)
			}
		}
		for _, width := range []int64{360, 1100} {
			for _, scheme := range []string{"light", "dark"} {
				media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
				if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, media); err != nil {
					return err
				}
				if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 800)); err != nil {
					return err
				}
				bad, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](check))
				if err != nil {
					return err
				}
				for _, b := range bad {
					t.Errorf("%s, %d wide, %s: %s", name, width, scheme, b)
				}
				dir := os.Getenv("JETON_PICTURES")
				if dir == "" {
					continue
				}
				picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d-%s.png", name, width, scheme)), picture, 0o600); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// TestInBrowser does what the vendor's page tells people to do: create an
// application on the admin page, and log in with it.
func TestInBrowser(t *testing.T) {
	b := serve(t)
	ctx := chromium(t)
	var mu sync.Mutex
	var complaints []string // guarded by mu
	err := chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *log.EventEntryAdded: // what the policy of a page forbids, and what cannot be loaded
			complaints = append(complaints, e.Entry.Text+" "+e.Entry.URL)
		case *runtime.EventExceptionThrown:
			complaints = append(complaints, "an exception")
		}
	})
	if err == nil {
		_, err = chromedp.Call(ctx, log.Enable, cdp.Empty{})
	}
	if err != nil {
		t.Fatal(err)
	}
	run := func(actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, actions...); err != nil {
			t.Fatal(err)
		}
	}
	press := func(s string) chromedp.Action[chromedp.Void] {
		return chromedp.Click(chromedp.Search(`//main//*[self::a or self::button][contains(normalize-space(.), "` + s + `")]`))
	}
	heading := func(s string) chromedp.Action[chromedp.Void] {
		return chromedp.WaitVisible(chromedp.Search(`//h1[contains(., "` + s + `")]`))
	}
	read := func(a chromedp.Action[string]) string {
		t.Helper()
		s, err := chromedp.Run(ctx, a)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}

	run(chromedp.Navigate(b.link()), heading("Sign in to the console"), looks(t, "sign-in"),
		press("Sign in"), heading("Realms"), looks(t, "realms"),
		press("alvys"), heading("Tenants"), looks(t, "tenants"),
		press("acme"), heading("Applications"), looks(t, "none"),
		press("New application"), heading("New application"), looks(t, "new"),
		chromedp.SendKeys(chromedp.CSS("#name"), "night import of o'brien & <sons>"), press("New application"),
		heading("Application created"), looks(t, "created"))
	secret, line := read(chromedp.Text(chromedp.CSS("code.secret"))), read(chromedp.Text(chromedp.CSS("#curl")))
	if !strings.HasPrefix(secret, "jeton_cs_") || !strings.Contains(line, secret) {
		t.Fatalf("the page shows %d bytes of a secret, and this command:\n%s", len(secret), line)
	}
	token := wantToken(t, line)
	verify := func() bool {
		_, err := b.realms["alvys"].Verify(t.Context(), jeton.NewSecret(token))
		return err == nil
	}
	if !verify() {
		t.Error("the token is not good")
	}

	run(press("Back to the list"), heading("Applications"), looks(t, "list"),
		press("Disable"), heading("Disable: night import of o'brien & <sons>"), looks(t, "disable"),
		press("Disable"), heading("Applications"), chromedp.WaitVisible(chromedp.CSS(".state.off")))
	body, status := sh(t, line)
	var refusal struct{ Error string }
	if err := json.Unmarshal([]byte(body), &refusal); err != nil || status != "401" || refusal.Error != "invalid_client" {
		t.Errorf("a disabled application gets %s %s", status, body)
	}
	if verify() {
		t.Error("the token of a disabled application is good")
	}

	run(press("Audit log"), heading("Audit log"), looks(t, "audit"))
	// An error is told next to the form. By keyboard alone: a field, and Enter.
	run(chromedp.Navigate(b.url.String()+"realms/web1on1/users/new"), heading("New user"), looks(t, "user"),
		chromedp.SendKeys(chromedp.CSS("#name"), "ann@example.org"), chromedp.SendKeys(chromedp.CSS("#password"), "one"),
		chromedp.SendKeys(chromedp.CSS("#again"), "two\r"), chromedp.WaitVisible(chromedp.CSS("#problem")), looks(t, "problem"))
	name, password := read(chromedp.Value(chromedp.CSS("#name"))), read(chromedp.Value(chromedp.CSS("#password")))
	if name != "ann@example.org" || password != "" {
		t.Errorf("after an error the name is %q, and the password has %d bytes", name, len(password))
	}
	run(chromedp.Click(chromedp.CSS("header button")), heading("Signed out"), looks(t, "signed-out"))
	response, err := chromedp.RunResponse(ctx, chromedp.Navigate(b.url.String()))
	if err != nil || response.Status != http.StatusUnauthorized {
		t.Errorf("after signing out: %v, %v", response, err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, c := range complaints {
		if !strings.Contains(c, "422") && !strings.Contains(c, "401") { // the statuses that were asked for
			t.Errorf("the browser complains: %s", c)
		}
	}
}
