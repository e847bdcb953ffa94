package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/musterhq/muster"
)

// fileReader collects the values of a configuration file by their path.
type fileReader struct {
	name   string
	leaves map[string]option
	values map[string]found
	faults []error
}

// parseFile reads YAML or JSON. Every key must be one of the options; the faults
// name the position and the nearest key.
func parseFile(name string, raw []byte) (map[string]found, []error) {
	r := &fileReader{name: name, leaves: map[string]option{}, values: map[string]found{}}
	for _, o := range options() {
		for _, key := range o.keys {
			r.leaves[key] = o
		}
	}
	if trimmed := bytes.TrimSpace(raw); len(trimmed) > 0 && trimmed[0] == '{' {
		raw = bytes.ReplaceAll(raw, []byte("\t"), []byte(" ")) // JSON may indent with tabs, YAML may not
	}
	file, err := parser.ParseBytes(raw, 0)
	if err != nil {
		r.broken(err)
		return nil, r.faults
	}
	if len(file.Docs) > 1 {
		r.fault(file.Docs[1].Body, "a second document in the file is never read")
	}
	for _, doc := range file.Docs[:min(1, len(file.Docs))] {
		r.section("", doc.Body)
	}
	return r.values, r.faults
}

// broken reports a file that is not YAML. The message of the parser is used
// without its excerpt, which could show a secret.
func (r *fileReader) broken(err error) {
	if e, ok := errors.AsType[yaml.Error](err); ok && e.GetToken() != nil {
		at := e.GetToken().Position
		r.faults = append(r.faults, muster.Errorf(muster.CodeBadConfig, "%s:%d:%d: %s", r.name, at.Line, at.Column, e.GetMessage()))
		return
	}
	r.faults = append(r.faults, muster.Errorf(muster.CodeBadConfig, "%s: it is neither YAML nor JSON", r.name))
}

func (r *fileReader) fault(node ast.Node, format string, args ...any) {
	r.faults = append(r.faults, muster.Errorf(muster.CodeBadConfig, "%s: %s", r.at(node), fmt.Sprintf(format, args...)))
}

func (r *fileReader) at(node ast.Node) string {
	if node == nil || node.GetToken() == nil {
		return r.name
	}
	at := node.GetToken().Position
	return fmt.Sprintf("%s:%d:%d", r.name, at.Line, at.Column)
}

// section reads the mapping at a path.
func (r *fileReader) section(path string, node ast.Node) {
	switch node := node.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode:
	case *ast.MappingNode:
		for _, pair := range node.Values {
			r.pair(path, pair)
		}
	case *ast.MappingValueNode:
		r.pair(path, node)
	default:
		r.fault(node, "%s: want a mapping, key: value", orDefault(path, "the file"))
	}
}

func (r *fileReader) pair(parent string, pair *ast.MappingValueNode) {
	key, ok := scalar(pair.Key)
	if !ok {
		r.fault(pair.Key, "a key must be a word; anchors and merges are not read")
		return
	}
	path := join(parent, key)
	_, mapping := pair.Value.(*ast.MappingNode)
	o, leaf := r.leaves[path]
	switch {
	case leaf && (!mapping || !r.isSection(path)):
		r.leaf(path, o, pair.Value)
	case r.isSection(path):
		r.section(path, pair.Value)
	case slices.Contains(laterKeys(), path):
		r.fault(pair.Key, "%s is not supported by this version", path)
	default:
		r.unknown(pair.Key, parent, path)
	}
}

func (r *fileReader) isSection(path string) bool {
	for key := range r.leaves {
		if strings.HasPrefix(key, path+".") {
			return true
		}
	}
	return false
}

func (r *fileReader) unknown(node ast.Node, parent, path string) {
	siblings := r.siblings(parent)
	if near := nearest(lastWord(path), siblings); near != "" {
		r.fault(node, "unknown key %s; did you mean %s?", shown(path), join(parent, near))
		return
	}
	for _, key := range r.sortedLeaves() {
		if lastWord(key) == lastWord(path) {
			r.fault(node, "unknown key %s; did you mean %s?", shown(path), key)
			return
		}
	}
	r.fault(node, "unknown key %s; known here: %s", shown(path), strings.Join(siblings, ", "))
}

// siblings returns the known words directly below a section.
func (r *fileReader) siblings(parent string) []string {
	var names []string
	for _, key := range r.sortedLeaves() {
		rest, ok := strings.CutPrefix(key, join(parent, ""))
		if !ok {
			continue
		}
		word, _, _ := strings.Cut(rest, ".")
		if !slices.Contains(names, word) {
			names = append(names, word)
		}
	}
	return names
}

func join(parent, word string) string {
	if parent == "" {
		return word
	}
	return parent + "." + word
}

func (r *fileReader) sortedLeaves() []string {
	keys := make([]string, 0, len(r.leaves))
	for key := range r.leaves {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func lastWord(path string) string { return path[strings.LastIndex(path, ".")+1:] }

// leaf reads the value of an option: a scalar, or where the option may be given
// repeatedly a sequence, or a mapping of tags.
func (r *fileReader) leaf(path string, o option, node ast.Node) {
	value := found{key: path, place: r.at(node), code: muster.CodeBadConfig}
	switch node := node.(type) {
	case *ast.NullNode:
		return
	case *ast.SequenceNode:
		value.texts = r.sequence(path, o, node)
	case *ast.MappingNode:
		value.texts = r.mapping(path, o, node)
	default:
		text, ok := scalar(node)
		if !ok {
			r.fault(node, "%s: want a plain value", path)
		}
		value.texts = []string{text}
	}
	r.values[path] = value
}

func (r *fileReader) sequence(path string, o option, node *ast.SequenceNode) []string {
	if !o.many {
		r.fault(node, "%s: want one value, not a list", path)
		return nil
	}
	var texts []string
	for _, item := range node.Values {
		text, ok := scalar(item)
		if !ok {
			r.fault(item, "%s: want a list of plain values; other forms are not supported by this version", path)
			return nil
		}
		texts = append(texts, text)
	}
	return texts
}

func (r *fileReader) mapping(path string, o option, node *ast.MappingNode) []string {
	if !o.pairs {
		r.fault(node, "%s: want a plain value; other forms are not supported by this version", path)
		return nil
	}
	var texts []string
	for _, pair := range node.Values {
		key, okKey := scalar(pair.Key)
		text, okText := scalar(pair.Value)
		if !okKey || !okText {
			r.fault(pair.Key, "%s: want plain keys and values", path)
			return nil
		}
		texts = append(texts, key+"="+text)
	}
	return texts
}

// scalar returns a plain value as it is written.
func scalar(node ast.Node) (string, bool) {
	switch node := node.(type) {
	case *ast.StringNode:
		return node.Value, true
	case *ast.LiteralNode:
		return strings.TrimRight(node.Value.Value, "\n"), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return node.GetToken().Value, true
	}
	return "", false
}
