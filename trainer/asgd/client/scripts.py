"""Completion scripts of shells for `kubectl-asgd` by its own name; they call what kubectl calls."""

from __future__ import annotations

_BASH = """\
_kubectl_asgd() {
    local IFS=$'\\n' lines
    lines=($(kubectl_complete-asgd "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
    [ "${lines[-1]}" = ":0" ] && compopt -o default
    unset 'lines[-1]'
    COMPREPLY=($(compgen -W "${lines[*]%%$'\\t'*}" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -F _kubectl_asgd kubectl-asgd
"""
_ZSH = """\
#compdef kubectl-asgd
_kubectl_asgd() {
    local -a lines
    lines=("${(@f)$(kubectl_complete-asgd "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    [[ "${lines[-1]}" == ":0" ]] && _files
    compadd -- "${(@)${(@)lines[1,-2]}%%$'\\t'*}"
}
compdef _kubectl_asgd kubectl-asgd
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH}
