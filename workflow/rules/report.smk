# One honest page.


rule write_report:
    input:
        checked=f"{FOLDER}/checked.json",
        stimuli=f"{FOLDER}/stimuli.tsv",
        quality=all_subjects(f"{SUBJECT}/quality.json"),
        regions=all_subjects(f"{SUBJECT}/regions.tsv"),
        figures=all_subjects(f"{SUBJECT}/figures"),
        derivatives=all_subjects(f"{SUBJECT}/derivatives"),
        cards=[
            path
            for pattern in subject_models("encoder.json")
            for path in all_subjects(pattern)
        ],
        attention=[
            path
            for pattern in subject_models("attention.png", LOOKING_MODELS)
            for path in all_subjects(pattern)
        ],
        recovery=recovery_tables(),
        page=page("write_report"),
    output:
        f"{FOLDER}/report.html",
    log:
        f"{LOG}/write_report.log",
    benchmark:
        f"{TIMES}/write_report.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        parameters=as_json(**STUDY.config),
    shell:
        "brainenc write_report --parameters {params.parameters:q} --output {output:q} 2> {log:q}"
