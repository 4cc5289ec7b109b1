# Pictures of cortex, and maps in the formats of other tools.


rule paint_maps:
    input:
        regions=f"{SUBJECT}/regions.h5",
        ceiling=f"{SUBJECT}/ceiling.h5",
        scores=subject_models("scores.h5"),
        partitions=subject_models("partition.h5", JOINT_MODELS),
        fields=subject_models("fields.h5", FIELD_MODELS),
        page=page("paint_maps"),
    output:
        directory(f"{SUBJECT}/figures"),
    log:
        f"{LOG}/paint_maps/sub-{{subject}}.log",
    benchmark:
        f"{TIMES}/paint_maps/sub-{{subject}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        files=entry_fingerprint(STUDY.config["surface"]),
        parameters=as_json(
            **STUDY.config["surface"],
            models=[model.label for model in STUDY.models],
            joint_models=[model.label for model in STUDY.joint_models],
            field_models=[model.label for model in STUDY.field_models],
            statistics=STUDY.config["statistics"],
            floor=STUDY.config["ceiling"]["floor"],
            notes=STUDY.pocket_notes,
        ),
    shell:
        "brainenc paint_maps --threads {threads} --subject {wildcards.subject} --regions {input.regions:q} "
        "--ceiling {input.ceiling:q} --scores {input.scores:q} --partitions {input.partitions:q} "
        "--fields {input.fields:q} --parameters {params.parameters:q} --output {output:q} 2> {log:q}"


rule export_maps:
    input:
        ceiling=f"{SUBJECT}/ceiling.h5",
        scores=subject_models("scores.h5"),
        cards=subject_models("encoder.json"),
        page=page("export_maps"),
    output:
        directory(f"{SUBJECT}/derivatives"),
    log:
        f"{LOG}/export_maps/sub-{{subject}}.log",
    benchmark:
        f"{TIMES}/export_maps/sub-{{subject}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        parameters=as_json(
            models=[model.label for model in STUDY.models],
            study=STUDY.config["study"],
            notes=STUDY.pocket_notes,
            **STUDY.config["export"],
        ),
    shell:
        "brainenc export_maps --threads {threads} --subject {wildcards.subject} --ceiling {input.ceiling:q} "
        "--scores {input.scores:q} --cards {input.cards:q} --parameters {params.parameters:q} "
        "--output {output:q} 2> {log:q}"
