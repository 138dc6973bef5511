package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Run prints a completion script made from the grammar, so that it cannot fall behind it.
func (c *completionCmd) Run(s *session) error {
	words := map[string][]string{}
	collect(words, "", s.parser.Model.Node)
	switch c.Shell {
	case "fish":
		return s.printf("%s", fish(words))
	case "zsh":
		return s.printf("autoload -U +X bashcompinit && bashcompinit\n%s", bash(words))
	default:
		return s.printf("%s", bash(words))
	}
}

// collect notes the words that may follow each command.
func collect(words map[string][]string, path string, node *kong.Node) {
	for _, flags := range node.AllFlags(true) {
		for _, flag := range flags {
			words[path] = append(words[path], "--"+flag.Name)
		}
	}
	for _, child := range node.Children {
		if child.Type != kong.CommandNode || child.Hidden {
			continue
		}
		words[path] = append(words[path], child.Name)
		collect(words, strings.TrimSpace(path+" "+child.Name), child)
	}
}

func bash(words map[string][]string) string {
	var cases strings.Builder
	for _, path := range sortedKeys(words) {
		fmt.Fprintf(&cases, "    %q) words=%q ;;\n", path, strings.Join(words[path], " "))
	}
	return `_eureka() {
  local current="${COMP_WORDS[COMP_CWORD]}" line="" words="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "${COMP_WORDS[i]}" in
      -*) ;;
      *) case "$line" in *" "*) ;; *) line="${line:+$line }${COMP_WORDS[i]}" ;; esac ;;
    esac
  done
  case "$line" in
` + cases.String() + `    *) line="${line%% *}"; case "$line" in
` + cases.String() + `    esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _eureka eureka
`
}

func fish(words map[string][]string) string {
	var b strings.Builder
	b.WriteString("complete -c eureka -f\n")
	for _, path := range sortedKeys(words) {
		condition := "__fish_use_subcommand"
		if path != "" {
			parts := strings.Fields(path)
			condition = "__fish_seen_subcommand_from " + parts[0]
			if len(parts) > 1 {
				condition += "; and __fish_seen_subcommand_from " + parts[1]
			}
		}
		for _, word := range words[path] {
			if flag, ok := strings.CutPrefix(word, "--"); ok {
				fmt.Fprintf(&b, "complete -c eureka -n %q -l %s\n", condition, flag)
			} else {
				fmt.Fprintf(&b, "complete -c eureka -n %q -a %s\n", condition, word)
			}
		}
	}
	return b.String()
}
