// Command build bundles the sources of the dashboard into web/dist. It is a
// module of its own so that nobody who imports muster inherits the bundler.
//
// Run it with go generate ./web. Equal sources give equal bytes: CI rebuilds
// and compares.
package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/evanw/esbuild/pkg/api"
)

func main() {
	root := flag.String("web", "../..", "the directory web")
	out := flag.String("out", "../../dist", "where to write")
	flag.Parse()
	if err := run(*root, *out); err != nil {
		fmt.Fprintln(os.Stderr, "build dashboard:", err)
		os.Exit(1)
	}
}

func run(root, out string) error {
	if err := install(root); err != nil {
		return err
	}
	files, err := bundle(root)
	if err != nil {
		return err
	}
	return write(out, files)
}

// install fetches the packages that the lock file names, unless it was done
// after the lock file last changed.
func install(root string) error {
	lock, err := os.Stat(filepath.Join(root, "package-lock.json"))
	if err != nil {
		return fmt.Errorf("look for the lock file: %w", err)
	}
	done, err := os.Stat(filepath.Join(root, "node_modules", ".package-lock.json"))
	if err == nil && !done.ModTime().Before(lock.ModTime()) {
		return nil
	}
	cmd := exec.Command("npm", "ci")
	cmd.Dir, cmd.Stdout, cmd.Stderr = root, os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("npm ci: %w", err)
	}
	return nil
}

// bundle returns the files of dist by name.
func bundle(root string) (map[string][]byte, error) {
	src, err := filepath.Abs(filepath.Join(root, "src"))
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", root, err)
	}
	result := api.Build(options(src))
	if len(result.Errors) > 0 {
		return nil, fmt.Errorf("bundle: %s", api.FormatMessages(result.Errors, api.FormatMessagesOptions{}))
	}
	files := map[string][]byte{}
	for _, f := range result.OutputFiles {
		files[filepath.Base(f.Path)] = f.Contents
	}
	return files, copyStatic(src, files)
}

func options(src string) api.BuildOptions {
	return api.BuildOptions{
		AbsWorkingDir: src,
		EntryPoints:   []string{"app.tsx", "app.css"},
		Outdir:        "/dist",
		Bundle:        true,
		Format:        api.FormatESModule,
		Target:        api.ES2022,
		Platform:      api.PlatformBrowser,
		Charset:       api.CharsetUTF8,
		LegalComments: api.LegalCommentsNone,

		JSX:             api.JSXAutomatic,
		JSXImportSource: "preact",

		MinifyWhitespace:  true,
		MinifyIdentifiers: true,
		MinifySyntax:      true,
	}
}

func copyStatic(src string, files map[string][]byte) error {
	for _, name := range []string{"index.html", "favicon.svg"} {
		data, err := os.ReadFile(filepath.Join(src, name))
		if err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
		files[name] = data
	}
	return nil
}

func write(out string, files map[string][]byte) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", out, err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := os.WriteFile(filepath.Join(out, name), files[name], 0o644); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}
