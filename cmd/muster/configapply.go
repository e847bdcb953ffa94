package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"
	"github.com/spf13/cobra"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/client"
	"github.com/musterhq/muster/config"
)

// maxFile bounds a file of documents, in bytes.
const maxFile = 32 << 20

func (a *app) configApplyCommand() *cobra.Command {
	file, batch := "", client.Batch{}
	cmd := &cobra.Command{
		Use:   "apply -f FILE|-",
		Short: "Make documents be as a file says, all or none",
		Long: `Reads documents, YAML or JSON: {kind, name, spec}, several of them one after another
or as a list, or what config get or list -o json shows. Those that are as the file
says are left alone, the others are written all or none: up to 64 at once. Documents
that the file does not name stay.`,
		Example: `  muster config apply -f routes.yaml --dry-run
  muster config apply -f routes.yaml --reason "release 12"
  muster config list -o json | muster config apply -f -`,
		Args: exactly(),
	}
	r, f := a.remoteFlags(cmd), outputFlag(cmd)
	cmd.Flags().StringVarP(&file, "file", "f", "", "`FILE` with the documents; - is standard input")
	cmd.Flags().StringVar(&batch.Reason, "reason", "", "why, as a `TEXT` that is kept in the history")
	cmd.Flags().BoolVar(&batch.DryRun, "dry-run", false, "check everything and show what would become of it, write nothing")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		docs, err := a.readDocuments(file)
		if err != nil {
			return err
		}
		ctx, cancel, c, err := a.dial(cmd.Context(), r, 0)
		if err != nil {
			return err
		}
		defer cancel()
		out, err := applyAll(ctx, c, docs, batch)
		if err != nil {
			return raced(err, "run the same command again")
		}
		return a.show(*f, out, func(w io.Writer, _ bool) { outcomeText(w, out) })
	}
	return cmd
}

// applyAll writes the documents that are not as they should be.
func applyAll(ctx context.Context, c cluster, docs []muster.Document, b client.Batch) (api.ConfigOutcome, error) {
	out := api.ConfigOutcome{DryRun: b.DryRun, Items: make([]api.ConfigResult, len(docs))}
	var at []int // in docs, of the items of the batch
	there, rev, err := present(ctx, c, docs)
	if err != nil {
		return out, err
	}
	out.Rev = rev
	for i, doc := range docs {
		now, exists := there[doc.Kind+"/"+doc.Name]
		out.Items[i] = api.ConfigResult{Kind: doc.Kind, Name: doc.Name, Outcome: unchanged, Rev: now.Rev}
		if !exists || !bytes.Equal(now.Spec, doc.Spec) {
			at = append(at, i)
			b.Items = append(b.Items, client.Item{Kind: doc.Kind, Name: doc.Name, Spec: doc.Spec, Expect: now.Rev})
		}
	}
	if len(at) == 0 {
		return out, nil
	}
	done, err := c.Apply(ctx, b)
	if err != nil {
		return out, err
	}
	if len(done.Items) != len(at) {
		return out, muster.Errorf(muster.CodeNotMuster, "%d documents were sent, the node answered for %d", len(at), len(done.Items))
	}
	for i, result := range done.Items {
		out.Items[at[i]] = result
	}
	out.Rev = done.Rev
	return out, nil
}

// present returns the documents of the kinds that are to be written, by their keys.
func present(ctx context.Context, c cluster, docs []muster.Document) (map[string]muster.Document, int64, error) {
	there, asked := map[string]muster.Document{}, map[string]bool{}
	var at int64
	for _, doc := range docs {
		if asked[doc.Kind] {
			continue
		}
		asked[doc.Kind] = true
		list, rev, err := c.ConfigList(ctx, doc.Kind)
		if err != nil {
			return nil, 0, err
		}
		for _, d := range list {
			there[d.Kind+"/"+d.Name] = d
		}
		at = rev
	}
	return there, at, nil
}

// readDocuments reads a file of documents, with canonical specifications.
func (a *app) readDocuments(file string) ([]muster.Document, error) {
	if file == "" {
		return nil, usage("which documents?").WithFix("give a file with -f FILE, or - for standard input")
	}
	in := a.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, usage("read the documents: %w", err)
		}
		defer func() { _ = f.Close() }() // it was only read
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err != nil {
		return nil, usage("read the documents: %w", err)
	}
	if len(raw) > maxFile {
		return nil, usage("%s is larger than %d bytes", shown(file), maxFile)
	}
	docs, err := parseDocuments(raw)
	if err != nil {
		return nil, muster.Errorf(muster.CodeBadDocument, "%s: %w", shown(file), err).
			WithFix("want documents like {kind: route, name: demo, spec: {weight: 10}}; nothing was sent")
	}
	return docs, nil
}

// parseDocuments reads JSON or YAML and checks what a node would refuse.
func parseDocuments(raw []byte) ([]muster.Document, error) {
	values, err := jsonValues(raw)
	if err != nil {
		return nil, err
	}
	var docs []muster.Document
	for _, value := range values {
		some, err := documentsIn(value)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", len(docs)+1, err)
		}
		docs = append(docs, some...)
	}
	if len(docs) == 0 {
		return nil, errors.New("there is no document in it")
	}
	seen := map[string]bool{}
	for i, doc := range docs {
		key := doc.Kind + "/" + doc.Name
		if err := errors.Join(muster.CheckName(doc.Kind), muster.CheckName(doc.Name)); err != nil {
			return nil, fmt.Errorf("document %d: %w", i+1, err)
		}
		if len(doc.Spec) == 0 {
			return nil, fmt.Errorf("document %d, %s, has no spec", i+1, key)
		}
		if docs[i].Spec, err = config.Canonical(doc.Spec); err != nil {
			return nil, fmt.Errorf("document %d, %s: %w", i+1, key, err)
		}
		if seen[key] {
			return nil, fmt.Errorf("document %d: %s is there twice", i+1, key)
		}
		seen[key] = true
	}
	return docs, nil
}

// jsonValues returns the JSON values of a text one by one. YAML becomes JSON.
func jsonValues(raw []byte) (values []json.RawMessage, err error) {
	if start := bytes.TrimSpace(raw); len(start) > 0 && (start[0] == '{' || start[0] == '[') {
		dec := json.NewDecoder(bytes.NewReader(raw))
		for {
			var value json.RawMessage
			err := dec.Decode(&value)
			if errors.Is(err, io.EOF) {
				return values, nil
			}
			if err != nil {
				return nil, fmt.Errorf("value %d is no JSON: %w", len(values)+1, err)
			}
			values = append(values, value)
		}
	}
	file, err := parser.ParseBytes(raw, 0)
	if err != nil {
		return nil, fmt.Errorf("it is neither JSON nor YAML: %w", err)
	}
	for i, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		value, err := yaml.YAMLToJSON([]byte(doc.Body.String()))
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", i+1, err)
		}
		values = append(values, value)
	}
	return values, nil
}

// documentsIn reads one document, a list of them, or the answer of a list.
func documentsIn(value json.RawMessage) ([]muster.Document, error) {
	var docs []muster.Document
	if value[0] == '[' {
		return docs, strict(value, &docs)
	}
	var list struct {
		Items []muster.Document `json:"items"`
		Next  string            `json:"next"`
		Rev   int64             `json:"rev"`
	}
	if strict(value, &list) == nil && list.Items != nil {
		return list.Items, nil
	}
	var doc muster.Document
	if err := strict(value, &doc); err != nil {
		return nil, err
	}
	return []muster.Document{doc}, nil
}

func strict(value []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}
