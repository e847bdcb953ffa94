package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version string

// build says what this binary is.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// thisBuild reads what the Go tool recorded in the binary.
func thisBuild() build {
	b := build{Version: orDefault(version, "devel"), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if main := info.Main.Version; version == "" && main != "" && main != "(devel)" {
		b.Version = main
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Revision = s.Value
		}
	}
	return b
}

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "What is this binary?",
		Example: `  muster version -o json`,
		Args:    exactly(),
	}
	f := outputFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		b := thisBuild()
		return a.show(*f, b, func(w io.Writer, _ bool) {
			_, _ = fmt.Fprintf(w, "muster %s (%s, %s)\n", b.Version, b.Go, b.Platform)
		})
	}
	return cmd
}
